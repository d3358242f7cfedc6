// The one script of the console. Every page works without it: it renews what is
// alive, keeps times true, and keeps a form from being sent twice.
(function () {
  "use strict";

  // Whoever looks may have a clock that is wrong: times go by the server's. It stands
  // on the page as the page was made, and a stream says it again and again. Of those
  // the one that was on its way for the shortest time is the nearest.
  var made = performance.getEntriesByType("navigation")[0];
  var ahead = [Number(document.documentElement.dataset.now) - performance.timeOrigin - (made ? made.responseStart : 0)];
  function now() { return Date.now() + Math.max.apply(null, ahead); }
  function setClock(at) { ahead = ahead.concat(at - Date.now()).slice(-5); }

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
    var at = now();
    document.querySelectorAll("time[data-rel]").forEach(function (t) {
      var text = relative((Date.parse(t.dateTime) - at) / 1000);
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
    remember(e.target);
  });
  function comeBack() {
    document.querySelectorAll("form[aria-busy]").forEach(function (f) {
      delete f.dataset.sent;
      f.removeAttribute("aria-busy");
    });
  }
  // A page that the browser kept and shows again has sent nothing.
  window.addEventListener("pageshow", comeBack);
  // Who has stopped the loading of what comes next, with Escape or the browser's
  // button, is still here, and may send again. What was sent may have been done.
  function stopped() {
    var form = document.querySelector("form[data-sent]");
    comeBack();
    if (!form || form.querySelector(".stopped")) return;
    var told = document.createElement("p");
    told.className = "notice warn stopped";
    told.setAttribute("role", "alert");
    told.textContent = "Perhaps done: you have stopped waiting for the answer. Load the page again to see how it stands.";
    form.append(told);
  }
  if (window.navigation) navigation.addEventListener("navigateerror", stopped);
  document.addEventListener("keydown", function (e) {
    if (e.key === "Escape") setTimeout(stopped); // where the browser does not tell it
  });

  // What was typed into a form that met the end of the session waits, in this tab,
  // until its operator has signed in again: then it stands in the form once more.
  function remember(form) {
    var who = document.querySelector(".actor");
    if (!who || form.classList.contains("who")) return;
    var fields = Array.from(form.elements).filter(function (f) {
      return f.name && f.type !== "hidden" && f.type !== "file" && f.type !== "password";
    }).map(function (f) { return [f.name, f.value]; });
    store({ page: location.pathname + location.search, action: form.getAttribute("action"), who: who.textContent, fields: fields });
  }
  function store(typed) {
    try {
      if (typed) sessionStorage.setItem("typed", JSON.stringify(typed));
      else sessionStorage.removeItem("typed");
    } catch (e) { /* then it is typed again */ }
  }
  (function () {
    var typed = null, who = document.querySelector(".actor");
    try {
      typed = JSON.parse(sessionStorage.getItem("typed"));
    } catch (e) { /* nothing was kept */ }
    if (!typed) return;
    var undone = !!document.querySelector("[data-undone]");
    if (!who || undone) { // the sign-in, or a form of a session that another tab has ended
      typed.undone = typed.undone || undone;
      store(typed.undone ? typed : null);
      return;
    }
    store(null);
    var form = Array.from(document.forms).filter(function (f) { return f.getAttribute("action") === typed.action; })[0];
    if (!typed.undone || typed.who !== who.textContent || typed.page !== location.pathname + location.search || !form) return;
    typed.fields.forEach(function (f) {
      if (form.elements[f[0]] && "value" in form.elements[f[0]]) form.elements[f[0]].value = f[1];
    });
    if (form.parentNode.tagName === "DETAILS") form.parentNode.open = true;
    var told = document.createElement("p");
    told.className = "notice warn";
    told.textContent = "Not done: the session had ended. What you typed stands in the form again.";
    form.prepend(told);
    var button = form.querySelector("button");
    if (button) button.focus();
  })();

  // Phones in a preview: what one cuts off is said above it, and shade and size stay
  // chosen in the next language.
  (function () {
    var choices = Array.from(document.querySelectorAll(".mocks .shade input"));
    if (!choices.length) return;
    function measure() {
      document.querySelectorAll(".phone").forEach(function (phone) {
        var cut = [".title", ".text"].filter(function (part) {
          var e = phone.querySelector(".push " + part);
          return e.scrollHeight > e.clientHeight + 2 || e.scrollWidth > e.clientWidth + 2;
        }).map(function (part) { return part.slice(1); });
        var told = phone.querySelector(".cut");
        if (!told) {
          told = document.createElement("span");
          told.className = "cut";
          phone.querySelector("figcaption").append(told);
        }
        var text = cut.length ? " · " + cut.join(" and ") + " cut" : "";
        if (told.textContent !== text) told.textContent = text;
      });
    }
    choices.forEach(function (c) {
      try {
        if (sessionStorage.getItem("phones-" + c.name) === c.value) c.checked = true;
      } catch (e) { /* then it is as the page has it */ }
      c.addEventListener("change", function () {
        try {
          sessionStorage.setItem("phones-" + c.name, c.value);
        } catch (e) { /* then it is chosen again */ }
        measure();
      });
    });
    measure();
    window.addEventListener("resize", measure);
  })();

  // What is alive is followed while somebody looks: the server tells of each part
  // that has changed. Where it has no room for that, it is asked now and then.
  var live = document.getElementById("live");
  if (!live) return;
  var lost = document.getElementById("lost"), seen = now();
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
    var held = at && at.id;
    var scrolled = Array.from(element.querySelectorAll(".scroll[id]")).map(function (e) { return [e.id, e.scrollTop]; });
    var open = Array.from(element.querySelectorAll("details[open][id]")).map(function (d) { return d.id; });
    // It is a page of our own, and the policy of the page lets no script in it run.
    element.innerHTML = html;
    open.forEach(function (id) {
      var d = document.getElementById(id);
      if (d) d.open = true;
    });
    scrolled.forEach(function (s) {
      var e = document.getElementById(s[0]);
      if (e) e.scrollTop = s[1];
    });
    if (held && document.getElementById(held)) {
      document.getElementById(held).focus({ preventScroll: true });
      return;
    }
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
    seen = now();
    lost.hidden = true;
    live.classList.remove("old");
  }
  function missed() {
    lost.querySelector("span").textContent = new Date(seen).toISOString().slice(11, 19) + " UTC"; // as all times here
    lost.hidden = false;
    live.classList.add("old");
  }

  // Who is typing when the session ends keeps what is typed, and is told when it is sent.
  function ended() {
    var at = document.activeElement;
    if (!at || !at.matches("input, textarea, select")) return location.reload();
    leave();
    missed();
  }
  function take(event) {
    var name = "", data = "";
    event.split("\n").forEach(function (l) {
      if (l.indexOf("event: ") === 0) name = l.slice(7);
      if (l.indexOf("data: ") === 0) data += l.slice(6);
    });
    if (name === "now") setClock(Number(data));
    if (name === "ended") return ended();
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
      if (answer.status === 401 || answer.status === 403) return ended(); // the session has
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
