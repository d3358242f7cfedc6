// The slip that a bet is written on, and the bets that were placed.
import {decimal, fraction} from './odds.js';
import {now} from './clock.js';
import {mark, set} from './market.js';

const KEPT = 50;
// Cents, at most two decimals, as the topic takes a stake.
const STAKE = /^\d{1,6}([.,]\d{1,2})?$/;

export class Slip {
  #dialog;
  #parts;
  #money;
  #look;
  #place;
  #race = null;
  #tile = null; // with the odds that are on the slip

  // look returns the newest tile of a race and a runner, and whether bets are taken;
  // place takes a bet.
  constructor(dialog, parts, money, look, place) {
    this.#dialog = dialog;
    this.#parts = parts;
    this.#money = money;
    this.#look = look;
    this.#place = place;
    parts.form.addEventListener('submit', (event) => { event.preventDefault(); this.#submit(); });
    parts.cancel.addEventListener('click', () => dialog.close());
    parts.take.addEventListener('click', () => this.#take());
    parts.stake.addEventListener('input', () => this.paint());
    for (const chip of parts.chips.children) {
      chip.addEventListener('click', () => { parts.stake.value = chip.dataset.stake; this.paint(); });
      set(chip, money(Number(chip.dataset.stake), 0));
    }
    dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  }

  // open writes a bet, with a stake where it is one that was placed before.
  open(race, tile, index, stake = 0) {
    if (this.#dialog.open) return;
    this.#race = race;
    if (stake) this.#parts.stake.value = String(stake);
    this.#tile = {...tile};
    this.#dialog.dataset.livery = index % 6;
    set(this.#parts.number, String(index + 1));
    this.paint();
    this.#dialog.showModal();
    this.#parts.stake.select();
  }

  // paint shows the slip as it is, beside the newest odds.
  paint() {
    if (!this.#tile) return;
    const {name, race, odds, decimals, returns, moved, take, submit, stake} = this.#parts;
    const {odds: seen} = this.#tile;
    const {tile: now, open} = this.#look(this.#race.id, this.#tile.name);
    const other = now && now.odds !== seen;
    set(name, this.#tile.name);
    set(race, this.#race.name);
    set(odds, fraction(seen));
    set(decimals, `decimal ${decimal(seen)}`);
    const amount = this.#stake();
    set(returns, amount ? `returns ${this.#money(amount * (1 + seen))} if it wins` : 'A stake is more than 0, with two decimals at most.');
    returns.dataset.wrong = !amount;
    stake.setAttribute('aria-invalid', String(!amount));
    set(moved, !open ? 'This race takes no bets any more.' : other ? `The odds have moved ${now.odds > seen ? 'up' : 'down'} to ${fraction(now.odds)} (${decimal(now.odds)}). A bet at the old ones may be rejected.` : '');
    take.hidden = !open || !other;
    set(submit, `Bet ${amount ? this.#money(amount) : ''} at ${fraction(seen)}`.replace('  ', ' '));
    submit.setAttribute('aria-disabled', String(!open || !amount));
  }

  #stake() {
    const text = this.#parts.stake.value.trim();
    return STAKE.test(text) ? Number(text.replace(',', '.')) : 0;
  }

  #take() {
    const {tile} = this.#look(this.#race.id, this.#tile.name);
    if (tile) this.#tile = {...tile};
    this.paint();
    this.#parts.submit.focus();
  }

  #submit() {
    const stake = this.#stake();
    if (!stake || !this.#look(this.#race.id, this.#tile.name).open) return;
    this.#dialog.close();
    this.#place({race: this.#race, name: this.#tile.name, odds: this.#tile.odds, stake});
  }
}

// What the wire tells of a bet. Nothing says that one was accepted: one that is
// settled was.
const WORDS = {
  placing: 'Placing…', placed: 'Placed', failed: 'Not placed', unsure: 'No answer', REJECTED: 'Rejected', WON: 'Won', LOST: 'Lost', VOID: 'Void', DEAD_HEAT: 'Dead heat',
};
const REASONS = {ODDS_MOVED: 'the odds had moved', RACE_STARTED: 'the race had started', NOT_OFFERED: 'it was not on offer'};

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

export class Bets {
  #list;
  #template;
  #money;
  #store;
  #again;
  #bets; // newest first

  // again is told a bet that was rejected and is wanted all the same; can says whether it may be.
  constructor(list, empty, template, money, store, again, can) {
    this.#again = again;
    this.can = can;
    this.#list = list;
    this.empty = empty;
    this.#template = template;
    this.#money = money;
    this.#store = store;
    try {
      this.#bets = JSON.parse(sessionStorage.getItem(store)) ?? [];
    } catch {
      this.#bets = [];
    }
    for (const bet of this.#bets) if (bet.state === 'placing') bet.state = 'unsure'; // the page was left meanwhile
    this.#paint();
  }

  // waiting tells whether there is a bet of which something is still to be heard.
  get waiting() { return this.#bets.some((bet) => ['placed', 'unsure'].includes(bet.state) || bet.outcome && now() - bet.at < 120_000); }

  add(bet) {
    this.#bets.unshift({...bet, state: 'placing', at: now(), seq: 0});
    this.#bets.length = Math.min(this.#bets.length, KEPT);
    this.#paint();
  }

  change(id, what) {
    const bet = this.#bets.find((b) => b.id === id);
    if (!bet) return;
    Object.assign(bet, what);
    this.#paint();
  }

  // hear takes the data of a push, or of an item of the inbox. It returns the bet when that is news of it.
  hear(data, seq) {
    const bet = data?.bet && this.#bets.find((b) => b.id === data.bet);
    if (!bet || seq <= bet.seq) return null;
    const changed = Boolean(bet.outcome);
    Object.assign(bet, {seq, state: data.outcome ?? 'REJECTED', outcome: data.outcome ?? '', reason: data.reason ?? '', payout: Number(data.payout) || 0, currency: data.currency ?? '', changed});
    this.#paint();
    return bet;
  }

  // tell says in a sentence what became of a bet.
  tell(bet) {
    const what = `${this.#money(bet.stake)} on ${bet.name}`;
    switch (bet.state) {
      case 'REJECTED': return `Not placed: ${what}. ${capital(REASONS[bet.reason] ?? bet.reason)}. Nothing was staked.`;
      case 'LOST': return `Lost: ${what}.`;
      default: return [`${WORDS[bet.state] ?? bet.state}: ${what}`, this.#detail(bet)].filter(Boolean).join(', ') + '.';
    }
  }

  // paint shows the bets as they are.
  paint() { this.#paint(); }

  // show brings a bet into view.
  show(id) {
    const row = [...this.#list.children].find((li) => li.dataset.bet === id);
    if (!row) return false;
    row.scrollIntoView({block: 'nearest'});
    mark(row, 'shown');
    return true;
  }

  #paint() {
    try {
      sessionStorage.setItem(this.#store, JSON.stringify(this.#bets));
    } catch { /* then they are gone with the page */ }
    this.empty.hidden = this.#bets.length > 0;
    const rows = new Map([...this.#list.children].map((row) => [row.dataset.key, row]));
    this.#bets.forEach((bet, i) => {
      const row = rows.get(bet.key) ?? this.#template.content.firstElementChild.cloneNode(true);
      rows.delete(bet.key);
      if (this.#list.children[i] !== row) this.#list.insertBefore(row, this.#list.children[i] ?? null);
      row.dataset.key = bet.key;
      row.dataset.bet = bet.id;
      row.dataset.state = bet.state;
      set(row.querySelector('.what'), `${this.#money(bet.stake)} on ${bet.name}`);
      set(row.querySelector('.where'), `${bet.event} · at ${fraction(bet.odds)} (${decimal(bet.odds)})`);
      set(row.querySelector('.state'), WORDS[bet.state] ?? bet.state);
      set(row.querySelector('.detail'), this.#detail(bet));
      const again = row.querySelector('.again-bet');
      again.hidden = bet.state !== 'REJECTED' || !this.can(bet);
      again.onclick = () => this.#again(bet);
    });
    for (const row of rows.values()) row.remove();
  }

  #detail(bet) {
    const paid = bet.payout ? this.#money(bet.payout, 2, bet.currency) : '';
    const was = bet.changed ? 'result changed' : '';
    switch (bet.state) {
      case 'WON': case 'DEAD_HEAT': return [paid, was].filter(Boolean).join(' · ');
      case 'VOID': return 'stake is back';
      case 'REJECTED': return `${REASONS[bet.reason] ?? bet.reason}; nothing was staked`;
      case 'failed': return bet.why ?? '';
      case 'unsure': return 'Ably may have it';
      case 'placed': return 'the result comes after the race';
      default: return was;
    }
  }
}
