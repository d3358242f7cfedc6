// The one script of the console. Every page works without it: it renews what is
// alive, keeps times true, and keeps a form from being sent twice.
(function () {
  "use strict";

  // Times: the same rough words as the server's (page.go: relative, span).
  function span(seconds) {
    var s = Math.abs(seconds);
    if (s < 120) return Math.round(s) + " s";
    if (s < 7200) return Math.round(s / 60) + " min";
    if (s < 172800) return Math.round(s / 3600) + " h";
    return Math.round(s / 86400) + " d";
  }
  function relative(seconds) {
    if (Math.abs(seconds) < 0.5) return "now";
    return seconds < 0 ? span(seconds) + " ago" : "in " + span(seconds);
  }
  function tick() {
    var now = Date.now();
    document.querySelectorAll("time[data-rel]").forEach(function (t) {
      var text = relative((Date.parse(t.dateTime) - now) / 1000);
      if (t.textContent !== text) t.textContent = text;
    });
  }
  setInterval(tick, 1000);

  // A form that is on its way says so, and goes once.
  document.addEventListener("submit", function (e) {
    // What is downloaded leaves its page as it is.
    if ("download" in e.target.dataset) return;
    if (e.target.method !== "post") { // asked again while it works: that does no harm
      e.target.setAttribute("aria-busy", "true");
      return;
    }
    if (e.target.dataset.sent) {
      e.preventDefault();
      return;
    }
    e.target.dataset.sent = "yes";
    e.target.setAttribute("aria-busy", "true");
  });
  // A page that the browser kept and shows again has sent nothing.
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[aria-busy]").forEach(function (f) {
      delete f.dataset.sent;
      f.removeAttribute("aria-busy");
    });
  });

  // What is alive is followed while somebody looks: the server tells of each part
  // that has changed. Where it has no room for that, it is asked now and then.
  var live = document.getElementById("live");
  if (!live) return;
  var lost = document.getElementById("lost"), seen = new Date();
  var following = null, again = null, patience = 1000, told = false;
  var silence = 20000, longest = 30000, asked = 10000;

  // What is pressed stays until it is let go: a click is both, on the same thing.
  var pressed = null, since = 0, later = [];
  document.addEventListener("pointerdown", function (e) {
    pressed = e.target;
    since = Date.now();
  });
  function letGo() {
    pressed = null;
    setTimeout(function () { // after the click
      var waiting = later;
      later = [];
      waiting.forEach(function (w) { put(w.element, w.html); });
    });
  }
  document.addEventListener("pointerup", letGo);
  document.addEventListener("pointercancel", letGo);

  // What stands in for the part keeps what its reader has opened, and the place of the keyboard.
  function put(element, html) {
    later = later.filter(function (w) { return w.element !== element; });
    // Of a press that takes longer the end may have been missed.
    if (pressed && element.contains(pressed) && Date.now() - since < 2000) {
      later.push({ element: element, html: html });
      return;
    }
    var focus = document.activeElement;
    var at = focus && element.contains(focus) ? focus : null;
    var place = at && (at.getAttribute("href") || (at.parentNode.id ? "#" + at.parentNode.id : null));
    var open = Array.from(element.querySelectorAll("details[open][id]")).map(function (d) { return d.id; });
    // It is a page of our own, and the policy of the page lets no script in it run.
    element.innerHTML = html;
    open.forEach(function (id) {
      var d = document.getElementById(id);
      if (d) d.open = true;
    });
    if (place === null) return;
    Array.from(element.querySelectorAll("a, summary")).some(function (e) {
      if ((e.getAttribute("href") || "#" + e.parentNode.id) !== place) return false;
      e.focus({ preventScroll: true });
      return true;
    });
  }
  function putAll(parts) {
    var here = Array.from(live.children);
    var same = here.length === parts.length && parts.every(function (p, i) { return here[i].id === "live-" + p.id; });
    if (!same) {
      live.replaceChildren.apply(live, parts.map(function (p) {
        var s = document.createElement("section");
        s.id = "live-" + p.id;
        return s;
      }));
    }
    parts.forEach(function (p, i) {
      live.children[i].className = p.class;
      put(live.children[i], p.html);
    });
  }
  // offer shows the button that does something: somebody else may have stopped all
  // sending, or started it, since this page was loaded.
  function offer() {
    var told = live.querySelector("[data-sending]"), state = told ? told.dataset.sending : "started";
    document.querySelectorAll("details[data-when]").forEach(function (d) {
      d.hidden = state !== "unknown" && d.dataset.when !== state;
    });
  }
  function heard() {
    offer();
    seen = new Date();
    lost.hidden = true;
    live.classList.remove("old");
  }
  function missed() {
    lost.querySelector("span").textContent = seen.toISOString().slice(11, 19) + " UTC"; // as all times here
    lost.hidden = false;
    live.classList.add("old");
  }

  function take(event) {
    var name = "", data = "";
    event.split("\n").forEach(function (l) {
      if (l.indexOf("event: ") === 0) name = l.slice(7);
      if (l.indexOf("data: ") === 0) data += l.slice(6);
    });
    if (name === "ended") location.reload(); // the session has
    if (name === "all") putAll(JSON.parse(data));
    if (name === "parts") {
      JSON.parse(data).forEach(function (p) {
        var element = document.getElementById("live-" + p.id);
        if (element) put(element, p.html);
      });
    }
    patience = 1000;
    told = true;
    heard();
  }
  // read takes events as they come, until there are no more.
  function read(reader, alive) {
    var decoder = new TextDecoder(), rest = "";
    return reader.read().then(function step(chunk) {
      if (chunk.done) return null;
      alive();
      var events = (rest + decoder.decode(chunk.value, { stream: true })).split("\n\n");
      rest = events.pop();
      events.forEach(take);
      return reader.read().then(step);
    });
  }
  function askNow(signal) {
    return fetch(live.dataset.live, { signal: signal, cache: "no-store", redirect: "error" }).then(function (answer) {
      if (!answer.ok) throw new Error("status " + answer.status);
      return answer.text();
    }).then(function (html) {
      put(live, html);
      heard();
      patience = asked;
    });
  }
  function follow() {
    clearTimeout(again);
    if (following || document.hidden) return;
    var mine = following = new AbortController(), timer = null, failed = false;
    function alive() {
      clearTimeout(timer);
      timer = setTimeout(function () { mine.abort(); }, silence);
    }
    alive();
    fetch(live.dataset.stream, { signal: mine.signal, cache: "no-store", redirect: "error" }).then(function (answer) {
      if (answer.status === 401 || answer.status === 403) return location.reload(); // the session has ended
      if (answer.status === 429 || answer.status === 503) return askNow(mine.signal);
      if (!answer.ok) throw new Error("status " + answer.status);
      told = false;
      return read(answer.body.getReader(), alive);
    }).catch(function () {
      failed = true;
    }).finally(function () {
      clearTimeout(timer);
      if (following !== mine) return; // nobody looks any more
      following = null;
      if (failed) missed();
      // All that have lost the same server must not come back at once.
      again = setTimeout(follow, patience * (0.7 + 0.6 * Math.random()));
      if (!told) patience = Math.min(patience * 2, longest);
      told = false;
    });
  }
  function leave() {
    clearTimeout(again);
    var was = following;
    following = null;
    if (was) was.abort();
  }
  document.addEventListener("visibilitychange", function () {
    if (document.hidden) return leave();
    patience = 1000;
    follow();
  });
  window.addEventListener("pagehide", leave);
  window.addEventListener("pageshow", follow);
})();
