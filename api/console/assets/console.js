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
    if (e.target.method !== "post") return;
    if (e.target.dataset.sent) {
      e.preventDefault();
      return;
    }
    e.target.dataset.sent = "yes";
    e.target.setAttribute("aria-busy", "true");
  });
  // A page that the browser kept and shows again has sent nothing.
  window.addEventListener("pageshow", function () {
    document.querySelectorAll("form[data-sent]").forEach(function (f) {
      delete f.dataset.sent;
      f.removeAttribute("aria-busy");
    });
  });

  // What is alive is asked for again every five seconds, while somebody looks.
  var live = document.getElementById("live");
  if (!live) return;
  var lost = document.getElementById("lost");
  var every = 5000, seen = new Date();

  function show(html) {
    var focus = document.activeElement, href = focus && live.contains(focus) ? focus.getAttribute("href") : null;
    // The answer is a page of our own, and the policy of the page lets no script in it run.
    live.innerHTML = html;
    if (href !== null) {
      Array.from(live.querySelectorAll("a")).some(function (a) {
        if (a.getAttribute("href") !== href) return false;
        a.focus({ preventScroll: true });
        return true;
      });
    }
  }
  function renew() {
    if (document.hidden) return setTimeout(renew, 1000);
    var stop = new AbortController(), timer = setTimeout(function () { stop.abort(); }, 12000);
    fetch(live.dataset.live, { signal: stop.signal, cache: "no-store", redirect: "error" })
      .then(function (answer) {
        if (answer.status === 401 || answer.status === 403) {
          location.reload(); // the session has ended
          return null;
        }
        if (!answer.ok) throw new Error("status " + answer.status);
        return answer.text();
      })
      .then(function (html) {
        if (html === null) return;
        show(html);
        seen = new Date();
        lost.hidden = true;
        live.classList.remove("old");
      })
      .catch(function () {
        lost.querySelector("span").textContent = seen.toLocaleTimeString();
        lost.hidden = false;
        live.classList.add("old");
      })
      .finally(function () {
        clearTimeout(timer);
        setTimeout(renew, every);
      });
  }
  setTimeout(renew, every);
})();
