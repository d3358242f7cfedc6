// What the unmodified ably-js does against the stand-in. It prints one JSON
// object a line: what it found, or {"do": …} to ask the test for something, and
// ends with status 1 at the first surprise.
"use strict";
const Ably = require("ably");

const { ABLY_KEY: key, ABLY_PORT: port, ABLY_BINARY: binary, ABLY_IDLE: idle } = process.env;
const options = (more) => ({
  endpoint: "127.0.0.1", port: Number(port), tls: false, useBinaryProtocol: binary === "true",
  transports: ["web_socket"], disableConnectivityCheck: true, logLevel: 0, ...more,
});
const say = (o) => console.log(JSON.stringify(o));
const once = (on, event) => new Promise((resolve) => on.once(event, resolve));
const until = async (what, condition) => {
  for (let i = 0; i < 1000; i++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error("waited in vain: " + what);
};
const code = async (promise) => {
  try {
    await promise;
    return 0;
  } catch (e) {
    return e.code;
  }
};

async function channels() {
  const rt = new Ably.Realtime(options({ key, clientId: "u1" }));
  await once(rt.connection, "connected");
  const ch = rt.channels.get("odds:1", { params: { rewind: "1", delta: "vcdiff" }, modes: ["PUBLISH", "SUBSCRIBE", "PRESENCE", "PRESENCE_SUBSCRIBE"] });
  const got = [];
  await ch.subscribe((m) => got.push(m));
  say({ params: ch.params, modes: ch.modes.length });

  for (const data of ["first", "second"]) await ch.publish({ id: "k/odds/0/1", name: "odds", data });
  await ch.publish([{ name: "object", data: [{ name: "Car 1", odds: 0.125 }], extras: { headers: { offset: 7 } } }, { name: "bytes", data: Buffer.from([0, 255]) }]);
  await until("messages", () => got.length >= 3);
  say({ received: got.map((m) => [m.name, Buffer.isBuffer(m.data) || m.data instanceof ArrayBuffer ? Buffer.from(m.data).toString("hex") : m.data]), id: got[0].id, headers: got[1].extras.headers });

  const members = [];
  await ch.presence.subscribe((p) => members.push(p.action));
  await ch.presence.enter("page");
  await ch.presence.update("other page");
  const present = await ch.presence.get();
  say({ present: present.map((p) => [p.clientId, p.data]) });
  const other = new Ably.Realtime(options({ key }));
  const synced = await other.channels.get("odds:1").presence.get();
  say({ synced: synced.map((p) => [p.clientId, p.data]) });
  await ch.presence.leave();
  await until("presence", () => members.includes("leave"));

  const page = await ch.history({ direction: "forwards", limit: 2 });
  const next = await page.next();
  say({ history: [...page.items, ...next.items].map((m) => m.name), more: next.hasNext() });
  const ping = await rt.connection.ping();
  say({ ping: ping >= 0 });

  // Cut in the middle: the SDK resumes, and misses nothing.
  const id = rt.connection.id;
  const back = once(rt.connection, "disconnected").then(() => once(rt.connection, "connected"));
  say({ do: "drop" });
  await back;
  await ch.publish({ id: "k/odds/0/2", data: "after" });
  await until("message after the drop", () => got.length >= 4);
  say({ resumed: rt.connection.id === id, after: got[3].data, total: got.length });
  await ch.detach();
  for (const c of [rt, other]) {
    const closed = once(c.connection, "closed");
    c.close();
    await closed;
  }
}

async function tokens() {
  let asked = 0;
  const rt = new Ably.Realtime(options({
    clientId: "punter-77",
    authCallback: async (_, done) => {
      asked++;
      const admin = new Ably.Rest(options({ key }));
      done(null, await admin.auth.createTokenRequest({ clientId: "punter-77", capability: { "bets:*:punter-77": ["publish", "presence"], "odds:*": ["subscribe"] } }));
    },
  }));
  await once(rt.connection, "connected");
  await rt.channels.get("bets:f1:punter-77").publish("bet", "{}");
  say({ denied: [await code(rt.channels.get("bets:f1:punter-78").publish("bet", "{}")), await code(rt.channels.get("other").attach())] });
  const back = once(rt.connection, "disconnected").then(() => once(rt.connection, "connected"));
  say({ do: "expire" });
  await back;
  await rt.channels.get("bets:f1:punter-77").publish("bet", "{}");
  say({ renewed: asked });
  const closed = once(rt.connection, "closed");
  rt.close();
  await closed;
}

async function rest() {
  const c = new Ably.Rest(options({ key }));
  say({ time: (await c.time()) > 0 });
  const ch = c.channels.get("rest:1");
  for (const data of ["first", "second"]) await ch.publish({ id: "once", data });
  say({ once: (await ch.history()).items.map((m) => m.data), active: (await ch.status()).status.isActive });
  say({ refused: [await code(ch.publish([{ id: "a" }, { id: "b" }])), await code(ch.publish("x", "y".repeat(70000)))] });
  const [one, two] = await c.batchPublish([
    { channels: ["rest:1", "rest:2"], messages: { id: "batched", data: "x" } },
    { channels: [":bad"], messages: [{ data: "y" }] },
  ]);
  say({ batch: [one.successCount, one.failureCount, two.failureCount, two.results[0].error.code] });
  say({ batchPresence: (await c.batchPresence(["rest:1"])).results[0].presence.length });

  const { deviceRegistrations, channelSubscriptions } = c.push.admin;
  const recipient = { transportType: "fcm", registrationToken: "t" };
  const device = await deviceRegistrations.save({ id: "js-device", clientId: "u1", platform: "android", formFactor: "phone", push: { recipient } });
  await channelSubscriptions.save({ channel: "push:1", clientId: "u1" });
  await c.push.admin.publish({ deviceId: "js-device" }, { notification: { title: "T", body: "B" } });
  say({
    device: device.id, listed: (await deviceRegistrations.list({ clientId: "u1" })).items.length,
    subscribed: (await channelSubscriptions.listChannels()).items,
  });
  await channelSubscriptions.removeWhere({ clientId: "u1" });
  await deviceRegistrations.remove("js-device");
  say({ gone: await code(deviceRegistrations.get("js-device")) });
}

async function quiet() {
  let changes = 0;
  const clients = [true, false].map((useBinaryProtocol) => new Ably.Realtime(options({ key, useBinaryProtocol })));
  for (const rt of clients) {
    if (rt.connection.state !== "connected") await once(rt.connection, "connected");
    rt.connection.on(() => changes++);
  }
  await new Promise((resolve) => setTimeout(resolve, Number(idle)));
  say({ idle: changes });
  for (const rt of clients) {
    const closed = once(rt.connection, "closed");
    rt.close();
    await closed;
  }
}

const parts = { rest, channels, tokens, quiet };
(async () => {
  for (const part of process.argv.slice(2)) await parts[part]();
})().then(() => process.exit(0), (e) => {
  console.error(e);
  process.exit(1);
});
