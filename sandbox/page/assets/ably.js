// Ably's own interfaces for browsers: server-sent events and REST, without an SDK.
import {Failure} from './bugle.js';
import {now} from './clock.js';

const SILENCE = 45_000; // heartbeats come every 15 s
const SLOW = 5000; // from then on somebody who does not answer is away
const TRIES = 5; // of a publish, each with the same id, which Ably takes once

const wait = (ms) => new Promise((done) => setTimeout(done, ms));
const isTokenError = (code) => code >= 40140 && code < 40150;

export class Ably {
  #base;
  #fetchToken;
  #on;
  #details = null; // Ably's TokenDetails, and until when they are good by our clock
  #asking = null; // the request for a token that is under way
  #renewal = 0;
  #channels = null; // until somebody has said
  #source = null;
  #sources = new Set(); // with those that it takes the place of, until it is open
  #last = ''; // id of the last event
  #failures = 0;
  #timer = 0;
  #watch = 0;
  #slow = 0;
  #paused = false;

  // fetchToken returns TokenDetails. on.message hears (channel, data), on.state
  // 'connecting', 'live', 'away' or 'refused'.
  constructor(base, fetchToken, on) {
    this.#base = base.replace(/\/+$/, '');
    this.#fetchToken = fetchToken;
    this.#on = on;
  }

  // user returns who the token says the page is.
  async user() {
    return (await this.#token()).clientId;
  }

  // follow subscribes to exactly these channels, beginning with the newest message of
  // each.
  follow(channels) {
    if (channels.join() === this.#channels?.join()) return;
    this.#channels = channels;
    this.#last = '';
    this.#open();
  }

  // pause closes the stream while nobody looks, and resume goes on from there.
  pause() {
    this.#paused = true;
    this.#close();
  }

  resume() {
    if (!this.#paused) return;
    this.#paused = false;
    if (this.#channels) this.#open();
  }

  // publish returns the id of the message, which is the bet's.
  async publish(channel, message) {
    for (let n = 1; ; n++) {
      const {res, error} = await this.#rest('POST', `/channels/${encodeURIComponent(channel)}/messages`, message);
      if (res?.ok) return (await res.json()).messageId ?? message.id;
      if (isTokenError(error?.code) && n < TRIES) {
        this.#details = null;
        continue;
      }
      if (res && res.status < 500 && res.status !== 429) throw new Failure('refused', error?.message ?? `Ably answered ${res.status}.`, res.status);
      if (n === TRIES) throw new Failure('away', 'Ably does not answer.');
      await wait(300 * n);
    }
  }

  // #rest makes one request. No res means that there was no answer.
  async #rest(method, path, body) {
    const token = (await this.#token()).token;
    try {
      const res = await fetch(this.#base + path, {
        method, credentials: 'omit', cache: 'no-store', signal: AbortSignal.timeout(8000),
        // In base 64, as Ably's SDKs do it.
        headers: {Authorization: `Bearer ${btoa(token)}`, ...(body && {'Content-Type': 'application/json'})},
        body: body && JSON.stringify(body),
      });
      return {res, error: res.ok ? null : (await res.json().catch(() => null))?.error};
    } catch {
      return {res: null, error: null};
    }
  }

  async #token() {
    if (this.#details && this.#details.until > Date.now() + 1000) return this.#details;
    this.#asking ??= this.#fetchToken().then((details) => {
      // How long it lives is known without a clock that is right.
      const life = details.issued ? details.expires - details.issued : details.expires - now();
      this.#details = {...details, until: Date.now() + life};
      // In good time: a fifth of its life is left. Not at once, whatever is said of it.
      clearTimeout(this.#renewal);
      this.#renewal = setTimeout(() => this.#renew(), Math.min(Math.max(0.8 * life, 1000), 2 ** 31 - 1));
      return this.#details;
    }).finally(() => { this.#asking = null; });
    return this.#asking;
  }

  // #renew gets a new token, and a stream with it that goes on where this one is. While
  // nobody gives one, the old one is good for a while.
  async #renew() {
    const old = this.#details;
    this.#details = null;
    try {
      await this.#token();
    } catch {
      const left = old ? old.until - Date.now() : 0;
      if (left > 500) {
        this.#details = old;
        this.#renewal = setTimeout(() => this.#renew(), left / 4);
        return;
      }
    }
    if (!this.#paused && this.#channels) await this.#open();
  }

  #close() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watch);
    clearTimeout(this.#slow);
    this.#source = null;
    this.#closeAllBut(null);
  }

  // #closeAllBut closes every stream but one: each would hold one of the browser's six
  // connections to a host.
  #closeAllBut(kept) {
    for (const source of this.#sources) {
      if (source === kept) continue;
      source.close();
      this.#sources.delete(source);
    }
  }

  async #open() {
    clearTimeout(this.#timer);
    if (this.#paused) return;
    if (this.#channels.length === 0) {
      this.#close();
      this.#on.state('live'); // nothing to hear
      return;
    }
    const channels = this.#channels;
    let token;
    try {
      token = (await this.#token()).token;
    } catch (err) {
      this.#again(err.kind === 'refused' ? 'refused' : 'away');
      return;
    }
    if (this.#paused || channels !== this.#channels) return; // somebody else opens, or nobody
    const query = new URLSearchParams({channels: channels.join(), v: '1.2', heartbeats: 'true', accessToken: token});
    if (this.#last) query.set('lastEvent', this.#last);
    else query.set('rewind', '1');
    const first = !this.#source;
    const source = new EventSource(`${this.#base}/sse?${query}`);
    this.#source = source;
    this.#sources.add(source);
    if (first) this.#on.state('connecting');
    const mine = (does) => (event) => this.#source === source && does(event);
    source.onopen = mine(() => {
      this.#closeAllBut(source);
      this.#failures = 0;
      clearTimeout(this.#slow);
      this.#slow = 0;
      this.#on.state('live');
      this.#alive();
    });
    source.onmessage = mine((event) => {
      this.#alive();
      this.#last = event.lastEventId;
      let message;
      try {
        message = JSON.parse(event.data);
        if (message.encoding === 'json') message.data = JSON.parse(message.data);
      } catch {
        return; // no odds of ours
      }
      this.#on.message(message.channel, message.data);
    });
    source.addEventListener('heartbeat', mine(() => this.#alive()));
    source.addEventListener('error', mine((event) => {
      this.#closeAllBut(source);
      if (event.data) this.#told(event.data);
      else if (source.readyState === EventSource.CLOSED) this.#ask();
      else this.#reconnecting();
    }));
    this.#alive();
  }

  // #reconnecting waits while the browser tries again by itself, every few seconds.
  #reconnecting() {
    if (this.#slow) return;
    this.#on.state('connecting');
    this.#slow = setTimeout(() => this.#on.state('away'), SLOW);
  }

  // #alive notes that the stream has spoken.
  #alive() {
    clearTimeout(this.#watch);
    this.#watch = setTimeout(() => {
      this.#close();
      this.#again('away');
    }, SILENCE);
  }

  // #told takes an error that Ably sent before it ended the stream.
  #told(data) {
    let code = 0;
    try {
      code = JSON.parse(data).code;
    } catch { /* then it is any other error */ }
    this.#close();
    if (isTokenError(code)) this.#details = null;
    else this.#last = ''; // it may be unable to go on from there
    this.#again('connecting');
  }

  // #ask finds out why the stream was refused, which an EventSource does not tell.
  async #ask() {
    this.#close();
    let state = 'away';
    try {
      const {res, error} = await this.#rest('GET', `/channels/${encodeURIComponent(this.#channels?.[0] ?? '')}/messages?limit=1`);
      if (isTokenError(error?.code)) this.#details = null;
      if (res && (res.status === 401 || res.status === 403)) state = 'refused';
    } catch (err) {
      if (err.kind === 'refused') state = 'refused';
    }
    if (!this.#source) this.#again(state);
  }

  // #again opens the stream after a while, longer after each failure.
  #again(state) {
    if (this.#paused) return;
    this.#on.state(state);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#open(), Math.min(500 * 2 ** this.#failures++, 15_000) * (0.75 + Math.random() / 2));
  }
}
