// The betting page: what happens on it, and what it says when something is away.
import {Ably} from './ably.js';
import {Bets, Slip} from './bets.js';
import {Bugle} from './bugle.js';
import {now, setClock} from './clock.js';
import {Market, isOpen, set} from './market.js';
import {Phone} from './phone.js';

const $ = (id) => document.getElementById(id);
const INBOX_EVERY = 10_000;
const wait = (ms) => new Promise((done) => setTimeout(done, ms));

// say tells somebody who does not see it.
const say = (text) => set($('said'), text);

// trouble shows what is wrong, by its source; an empty text takes that away.
const troubles = new Map();
function trouble(source, text, again = false) {
  if (text) troubles.set(source, {text, again});
  else troubles.delete(source);
  const [first] = troubles.values();
  $('trouble').hidden = !first;
  set($('trouble-text'), [...troubles.values()].map((t) => t.text).join(' '));
  $('anew').hidden = ![...troubles.values()].some((t) => t.again);
}

const STATES = {connecting: 'connecting', live: 'live', away: 'away', refused: 'refused'};
function lamp(id, state) {
  $(id).dataset.state = state;
  set($(id).querySelector('span'), STATES[state]);
}

async function fetchJSON(path, options) {
  const res = await fetch(path, {cache: 'no-store', signal: AbortSignal.timeout(8000), ...options});
  const body = await res.json();
  // It counts whole seconds: a clock that is nearer is left alone.
  const at = Date.parse(res.headers.get('Date')) + 500;
  if (Math.abs(at - now()) > 2000) setClock(at);
  if (!res.ok) throw new Error(body.error ?? `The page's server answered ${res.status}.`);
  return body;
}

// enter returns the guest of this tab: the same after a reload, another one in
// another tab, even one that was duplicated.
async function enter() {
  let key = sessionStorage.getItem('guest') ?? '';
  if (key && !(await mine(key) || (await wait(400), await mine(key)))) key = '';
  const guest = await fetchJSON('/guest', {method: 'POST', body: JSON.stringify({key})});
  if (guest.key !== key) {
    sessionStorage.clear();
    sessionStorage.setItem('guest', guest.key);
    await mine(guest.key);
  }
  return guest;
}

// mine reports whether this tab is the one that has the key, until it is closed.
function mine(key) {
  return new Promise((answer) => {
    navigator.locks.request(`guest:${key}`, {ifAvailable: true}, (lock) => {
      answer(Boolean(lock));
      return lock ? new Promise(() => {}) : undefined;
    });
  });
}

function anew() {
  sessionStorage.clear();
  location.reload();
}
$('anew').addEventListener('click', anew);

function clock() {
  const at = new Date(now());
  for (const id of ['phone-time', 'phone-clock']) set($(id), at.toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', hour12: false}));
  set($('phone-date'), at.toLocaleDateString([], {weekday: 'long', day: 'numeric', month: 'long'}));
}

async function main() {
  clock();
  setInterval(clock, 1000);
  const config = await fetchJSON('/config.json');
  const user = config.guests ? await enter() : {user: '', token: config.token, device: config.device};
  set($('who'), user.user || 'your user');

  const money = (amount, digits = 2, currency = '') => new Intl.NumberFormat([], {style: 'currency', currency: currency || config.currency, minimumFractionDigits: digits, maximumFractionDigits: digits}).format(amount);
  const bugle = new Bugle(config.api, user.token, (state) => {
    lamp('bugle', state);
    trouble('bugle', {
      away: 'Bugle does not answer. The phone and the results of bets wait until it does.',
      refused: config.guests ? 'Bugle does not take this guest’s token any more.' : 'Bugle refuses the token of the page’s document.',
    }[state] ?? '', state === 'refused' && config.guests);
  });

  // The races and their odds.
  const market = new Market({
    strip: $('strip'), name: $('race-name'), course: $('race-course'), clock: $('race-clock'), cars: $('cars'), empty: $('no-race'), note: $('race-note'),
  }, $('car-row'), (race, tile, i) => slip.open(race, tile, i));
  const ably = new Ably(config.ably, () => bugle.ablyToken(), {
    state(state) {
      lamp('ably', state);
      market.setLive(state === 'live');
      trouble('ably', {
        away: 'Ably does not answer. The odds are not live, and bets wait.', refused: 'Ably refuses the token.',
      }[state] ?? '', state === 'refused' && config.guests);
    },
    message(channel, tiles) {
      if (!channel.startsWith(config.odds)) return;
      market.setOdds(channel.slice(config.odds.length), tiles);
      slip.paint();
    },
  });
  const follow = () => ably.follow(market.open().map((id) => config.odds + id).sort());
  const setRaces = (list) => {
    market.setRaces(list);
    follow();
    slip.paint();
  };
  setInterval(follow, 1000); // what has started needs no odds any more

  // Bets.
  const canBet = (bet) => market.races.has(bet.race) && isOpen(market.races.get(bet.race)) && market.index(bet.race, bet.name) >= 0;
  const again = (bet) => {
    hush();
    if (canBet(bet)) slip.open(market.races.get(bet.race), market.tile(bet.race, bet.name), market.index(bet.race, bet.name), bet.stake);
  };
  const bets = new Bets($('bets'), $('no-bets'), $('bet-row'), money, `bets:${user.user}`, again, canBet);
  // A race that has started meanwhile takes no second bet.
  setInterval(() => {
    bets.paint();
    if (told) $('news-again').hidden = told.state !== 'REJECTED' || !canBet(told);
  }, 1000);

  // What becomes of a bet is told wherever on the page one is, for a while; it stays in the list.
  let told = null, hushing = 0;
  const hush = () => {
    $('news').hidden = true;
    told = null;
  };
  const hushLater = () => {
    clearTimeout(hushing);
    hushing = setTimeout(() => $('news').matches(':hover, :focus-within') ? hushLater() : hush(), 8000);
  };
  const hear = (data, seq, said = false) => {
    const bet = bets.hear(data, seq);
    if (!bet) return;
    step('push');
    told = bet;
    $('news').dataset.state = bet.state;
    set($('news').querySelector('p'), bets.tell(bet));
    $('news-again').hidden = bet.state !== 'REJECTED' || !canBet(bet);
    $('news').hidden = false;
    hushLater();
    if (!said) say(bets.tell(bet));
  };
  $('news-close').addEventListener('click', hush);
  $('news-again').addEventListener('click', () => told && again(told));

  // The steps that are done are ticked off.
  const done = new Set(JSON.parse(sessionStorage.getItem('steps') ?? '[]'));
  const step = (name) => {
    if (name) done.add(name);
    sessionStorage.setItem('steps', JSON.stringify([...done]));
    for (const li of $('how').children) li.classList.toggle('done', done.has(li.dataset.step));
  };
  step();
  const slip = new Slip($('slip'), {
    form: $('slip-form'), name: $('slip-name'), race: $('slip-race'), number: $('slip-number'), odds: $('slip-odds'), decimals: $('slip-decimal'),
    stake: $('stake'), chips: $('chips'), returns: $('returns'), moved: $('moved'), take: $('take'), submit: $('place'), cancel: $('cancel'),
  }, money, (id, name) => ({tile: market.tile(id, name), open: market.races.has(id) && isOpen(market.races.get(id))}), async ({race, name, odds, stake}) => {
    const id = crypto.randomUUID(); // nobody can foresee it; Ably takes it once, however often it is sent
    bets.add({key: id, id, name, race: race.id, event: race.name, odds, stake});
    step('bet');
    say(`Placing ${money(stake)} on ${name}.`);
    try {
      const who = await ably.user();
      const got = await ably.publish(config.bets + who, {id, name: who, data: JSON.stringify({name, event: race.id, stake, odds})});
      bets.change(id, {id: got, state: 'placed'});
      say(`Placed: ${money(stake)} on ${name}.`);
    } catch (err) {
      const unsure = err.kind === 'away';
      bets.change(id, unsure ? {state: 'unsure'} : {state: 'failed', why: err.message});
      say(unsure ? `No answer: it is not known whether ${money(stake)} on ${name} is placed.` : `Not placed: ${err.message}`);
    }
    sync();
  });

  // What the user was told, which a page syncs because a push is only a hint.
  let syncing = 0;
  const sync = async () => {
    clearTimeout(syncing);
    try {
      // Oldest first: what comes after a result is a change of it.
      if (bets.waiting) for (const item of (await bugle.inbox()).reverse()) hear(item.data, item.seq);
    } catch { /* bugle says so */ }
    clearTimeout(syncing);
    syncing = setTimeout(sync, INBOX_EVERY);
  };

  // The phone.
  const phone = new Phone($('tray'), $('push-card'), (link) => {
    const [, kind, id] = /^app:\/\/(race|bet)\/(.+)$/.exec(link) ?? [];
    if (kind === 'race' && market.choose(id)) $('market').scrollIntoView({block: 'nearest'});
    if (kind === 'bet') bets.show(id);
  });
  let cleared = Number(sessionStorage.getItem('cleared') ?? 0); // the last push that was there, which a reload does not bring back
  $('clear').addEventListener('click', () => {
    cleared = last;
    sessionStorage.setItem('cleared', String(cleared));
    phone.clear();
    tray();
  });
  let state = '';
  const tray = () => {
    const none = $('tray').children.length === 0;
    $('quiet').hidden = !none;
    $('clear').hidden = none;
    set($('quiet'), {active: 'Pushes will show up here.', inactive: 'Not activated: nothing reaches this phone.', retired: 'Its address is dead. Activate it again.'}[state] ?? '…');
  };
  const setState = (is) => {
    state = is;
    $('device').dataset.state = is;
    set($('device-state'), {active: 'Active: Bugle sends to this phone.', inactive: 'Not active: nothing is sent to it.', retired: 'Retired: its address is dead.'}[is] ?? 'Asking Bugle…');
    if (is === 'active') step('activate');
    $('unheard').hidden = is === 'active' || is === '' || !user.device;
    $('activate').setAttribute('aria-disabled', String(is === 'active'));
    $('deactivate').setAttribute('aria-disabled', String(is !== 'active'));
    tray();
  };
  const change = (button, becomes, does) => button.addEventListener('click', async () => {
    if (button.getAttribute('aria-disabled') === 'true' || button.getAttribute('aria-busy') === 'true') return;
    button.setAttribute('aria-busy', 'true');
    try {
      await does();
      setState(becomes);
      say(becomes === 'active' ? 'The phone is active.' : 'The phone is not active any more.');
      trouble('device', '');
    } catch (err) {
      if (err.kind === 'wrong') trouble('device', `Bugle did not do it: ${err.message}.`);
    } finally {
      button.removeAttribute('aria-busy');
    }
  });
  change($('activate'), 'active', () => bugle.activate(user.device));
  change($('deactivate'), 'inactive', () => bugle.deactivate(user.device.id));
  $('phone').hidden = !user.device;
  set($('phone-note'), config.guests
    ? 'The sandbox plays this phone’s part: it shows what the stand-in for FCM has accepted for it.'
    : 'Pushes go to the phone that has this address; this frame shows none.');
  setState('');
  const askState = async () => {
    for (let n = 0; state === ''; n++) {
      try {
        setState(await bugle.state(user.device.id));
      } catch {
        await wait(Math.min(1000 * 2 ** n, 10_000));
      }
    }
  };
  if (user.device) askState();

  // What an app's own backend tells, and FCM.
  let live = null, last = 0, reopening = 0;
  const open = () => {
    clearTimeout(reopening);
    live?.close();
    live = new EventSource(`/live?key=${encodeURIComponent(user.key)}`);
    live.onopen = () => trouble('live', '');
    live.addEventListener('now', (event) => setClock(Number(event.data)));
    live.addEventListener('races', (event) => setRaces(JSON.parse(event.data)));
    live.addEventListener('push', (event) => {
      if (Number(event.lastEventId) <= last) return;
      last = Number(event.lastEventId);
      const push = JSON.parse(event.data);
      push.data ??= {};
      if (last > cleared && phone.show(push)) {
        tray();
        if (now() - Date.parse(push.at) < 5000) set($('heard'), `${push.title}. ${push.body}`);
      }
      hear(push.data, Number(push.data.seq), true);
    });
    live.onerror = () => {
      trouble('live', 'The sandbox does not answer: it may have ended.');
      if (live.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
      // Refused: the sandbox is another one, or has given the place away.
      reopening = setTimeout(async () => {
        try {
          const guest = await fetchJSON('/guest', {method: 'POST', body: JSON.stringify({key: user.key})});
          if (guest.key !== user.key) {
            sessionStorage.clear();
            sessionStorage.setItem('guest', guest.key);
            location.reload();
            return;
          }
        } catch { /* not yet */ }
        open();
      }, 2000);
    };
  };
  if (config.guests) open();
  else setRaces(config.events ?? []);

  // A page that nobody sees needs no streams, of which a browser has only six to a host.
  let away = 0;
  document.addEventListener('visibilitychange', () => {
    clearTimeout(away);
    if (document.hidden) {
      away = setTimeout(() => { ably.pause(); live?.close(); }, 20_000);
      return;
    }
    ably.resume();
    if (live?.readyState === EventSource.CLOSED) open();
  });
  sync();
  document.documentElement.dataset.ready = 'true';
}

main().catch((err) => {
  set($('race-name'), 'The page cannot begin');
  trouble('page', `${err.message} Reload the page to try again.`, false);
  document.documentElement.dataset.ready = 'failed';
});
