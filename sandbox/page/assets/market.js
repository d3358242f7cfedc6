// The races that can be bet on, and the odds of one of them.
import {now as time} from './clock.js';
import {decimal, fraction} from './odds.js';

const KEPT = 2; // races that are over stay on the strip for a while
const LINGER = 7000; // how long a race that is over stays chosen
const MARKED = 4000; // how long an arrow stays

export const isOpen = (race, now = time()) => (race.status ?? 'SCHEDULED') === 'SCHEDULED' && !(race.starts_at && Date.parse(race.starts_at) <= now);

export class Market {
  #parts;
  #template;
  #bet;
  #races = new Map(); // by id
  #tiles = new Map(); // the newest odds by race
  #chosen = '';
  #place = ''; // where its tab stands on the strip
  #since = 0; // when the chosen race was seen to be over
  #live = false;
  #heard = false; // of the races

  // parts are elements: strip, name, course, clock, cars, empty, note.
  constructor(parts, template, bet) {
    this.#parts = parts;
    this.#template = template;
    this.#bet = bet;
    parts.strip.addEventListener('keydown', (event) => this.#key(event));
    setInterval(() => this.tick(), 250);
  }

  get races() { return this.#races; }
  get chosen() { return this.#races.get(this.#chosen); }

  // open returns the ids of the races that take bets.
  open() { return [...this.#races.values()].filter((race) => isOpen(race)).map((race) => race.id); }

  // tile returns the newest odds of a runner, and index where it stands.
  tile(race, name) { return this.#tiles.get(race)?.find((tile) => tile.name === name); }
  index(race, name) { return this.#tiles.get(race)?.findIndex((tile) => tile.name === name) ?? -1; }

  setRaces(list) {
    this.#heard = true;
    this.#races = new Map(list.map((race) => [race.id, race]));
    for (const id of this.#tiles.keys()) if (!this.#races.has(id)) this.#tiles.delete(id);
    this.tick();
  }

  // setOdds takes a snapshot, which replaces the one before.
  setOdds(id, tiles) {
    if (!Array.isArray(tiles) || !this.#races.has(id)) return;
    const before = this.#tiles.get(id) ?? [];
    const now = time();
    this.#tiles.set(id, tiles.map((tile) => {
      const old = before.find((t) => t.name === tile.name);
      if (!old) return {...tile, move: '', at: 0};
      if (old.odds === tile.odds) return {...tile, move: old.move, at: old.at};
      return {...tile, move: tile.odds > old.odds ? 'up' : 'down', at: now};
    }));
    if (id === this.#chosen) this.#paint();
  }

  // setLive says whether the odds are those of now.
  setLive(live) {
    this.#live = live;
    this.#paint();
  }

  choose(id) {
    if (!this.#races.has(id)) return false;
    if (id !== this.#chosen) this.#parts.cars.replaceChildren();
    this.#chosen = id;
    this.#since = 0;
    this.tick();
    return true;
  }

  // tick does what the time asks for.
  tick() {
    const now = time();
    const byStart = [...this.#races.values()].sort((a, b) => Date.parse(a.starts_at ?? 0) - Date.parse(b.starts_at ?? 0));
    const open = byStart.filter((race) => isOpen(race, now));
    const chosen = this.#races.get(this.#chosen);
    if (chosen && isOpen(chosen, now)) this.#since = 0;
    else if (chosen) this.#since ||= now;
    if (open.length > 0 && (!chosen || (this.#since && now - this.#since > LINGER && !document.querySelector('dialog[open]')))) {
      this.choose(open[0].id);
      return;
    }
    if (!chosen) this.#chosen = byStart.at(-1)?.id ?? '';
    // What can be bet on comes first.
    const shown = [...open, ...byStart.filter((race) => !isOpen(race, now)).slice(-KEPT)];
    if (chosen && !shown.includes(chosen)) shown.push(chosen);
    this.#strip(shown, now);
    this.#paint(now);
  }

  #strip(shown, now) {
    const {strip} = this.#parts;
    const tabs = new Map([...strip.children].map((tab) => [tab.dataset.race, tab]));
    for (const race of shown) {
      let tab = tabs.get(race.id);
      if (!tab) {
        tab = document.createElement('button');
        tab.type = 'button';
        tab.dataset.race = race.id;
        tab.setAttribute('role', 'tab');
        tab.setAttribute('aria-controls', 'market');
        tab.append(document.createElement('b'), document.createElement('span'));
        tab.firstChild.dir = 'auto';
        tab.onclick = () => this.choose(race.id);
      }
      tabs.delete(race.id);
      set(tab.firstChild, race.name);
      set(tab.lastChild, when(race, now));
      tab.dataset.open = isOpen(race, now);
      const selected = race.id === this.#chosen;
      tab.setAttribute('aria-selected', selected);
      tab.tabIndex = selected ? 0 : -1;
      if (tab !== strip.children[shown.indexOf(race)]) strip.insertBefore(tab, strip.children[shown.indexOf(race)] ?? null);
    }
    for (const tab of tabs.values()) tab.remove();
    // The chosen one is in sight when it is another one, or stands elsewhere.
    const tab = [...strip.children].find((one) => one.dataset.race === this.#chosen);
    const place = tab && `${this.#chosen} ${tab.offsetLeft}`;
    if (tab && place !== this.#place) {
      const from = tab.offsetLeft - strip.offsetLeft;
      if (from < strip.scrollLeft) strip.scrollLeft = from - 4;
      else if (from + tab.offsetWidth > strip.scrollLeft + strip.clientWidth) strip.scrollLeft = from + tab.offsetWidth - strip.clientWidth + 4;
    }
    this.#place = place;
  }

  #key(event) {
    const tabs = [...this.#parts.strip.children];
    const at = tabs.indexOf(document.activeElement);
    const to = {ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1}[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    const tab = tabs[(to + tabs.length) % tabs.length];
    this.choose(tab.dataset.race);
    tab.focus();
  }

  #paint(now = time()) {
    const {name, course, clock, cars, empty, note} = this.#parts;
    const race = this.#races.get(this.#chosen);
    const nothing = this.#heard && !race;
    empty.hidden = !nothing;
    cars.hidden = nothing;
    if (!race) {
      set(name, this.#heard ? 'No race is open' : 'Loading the races…');
      set(course, '');
      set(clock, '');
      set(note, '');
      return;
    }
    const tiles = this.#tiles.get(race.id);
    const open = isOpen(race, now);
    set(name, race.name);
    set(course, race.course ?? '');
    set(clock, when(race, now));
    clock.dataset.soon = open && race.starts_at !== undefined && Date.parse(race.starts_at) - now < 10_000;
    set(note, this.#say(race, tiles, open));
    cars.setAttribute('aria-busy', String(!tiles));
    if (!tiles) {
      if (!cars.querySelector('.ghost')) cars.replaceChildren(...Array.from({length: 6}, () => {
        const ghost = document.createElement('li');
        ghost.className = 'ghost';
        return ghost;
      }));
      return;
    }
    if (cars.querySelector('.ghost') || cars.children.length !== tiles.length) {
      cars.replaceChildren(...tiles.map(() => this.#template.content.firstElementChild.cloneNode(true)));
    }
    tiles.forEach((tile, i) => this.#car(cars.children[i], race, tile, i, open && this.#live, now));
  }

  #say(race, tiles, open) {
    if (!open) return race.winner ? `${race.winner} won.` : {OFF: 'They are off. No more bets.', POSTPONED: 'Postponed to another time.', ABANDONED: 'Abandoned. All bets are void.'}[race.status] ?? 'No more bets.';
    if (!this.#live) return 'The odds are not live at the moment: bets have to wait.';
    return tiles ? 'Tap a car to bet at the odds that you see.' : 'Waiting for the first odds…';
  }

  #car(row, race, tile, i, open, now) {
    const button = row.firstElementChild;
    const moved = now - tile.at < MARKED ? tile.move : '';
    row.dataset.livery = i % 6;
    row.dataset.winner = (race.winner ?? '').split(' and ').includes(tile.name);
    row.querySelector('svg').dataset.number = i + 1;
    set(row.querySelector('.number'), String(i + 1));
    set(row.querySelector('.name'), String(tile.name));
    set(row.querySelector('.odds b'), fraction(tile.odds));
    set(row.querySelector('.decimal span:last-child'), decimal(tile.odds));
    set(row.querySelector('.arrow'), {up: '▲', down: '▼'}[moved] ?? '');
    set(row.querySelector('.said'), {up: 'the odds have gone up', down: 'the odds have come down'}[moved] ?? '');
    button.title = `${fraction(tile.odds)} is ${decimal(tile.odds)} in decimal odds`;
    button.setAttribute('aria-disabled', String(!open));
    button.onclick = () => open && this.#bet(race, tile, i);
    if (row.dataset.at !== String(tile.at)) {
      row.dataset.at = tile.at;
      row.classList.remove('flash');
      if (moved) {
        void row.offsetWidth; // begins the animation anew
        row.classList.add('flash');
      }
    }
    row.dataset.move = moved;
  }
}

// set writes a text where it is another one: screen readers and animations leave the
// rest alone.
export function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// mark draws the eye to something for a moment, also where nothing may move.
export function mark(element, name) {
  element.classList.remove(name);
  void element.offsetWidth; // begins the animation anew
  element.classList.add(name);
  clearTimeout(element.marked);
  element.marked = setTimeout(() => element.classList.remove(name), 2500);
}

// when says how a race stands.
function when(race, now) {
  if (race.winner) return 'finished';
  if (!isOpen(race, now)) return {OFF: 'off', POSTPONED: 'postponed', ABANDONED: 'abandoned'}[race.status] ?? 'off';
  if (!race.starts_at) return 'open';
  const s = Math.ceil((Date.parse(race.starts_at) - now) / 1000);
  return s < 90 ? `in ${s} s` : `in ${Math.round(s / 60)} min`;
}
