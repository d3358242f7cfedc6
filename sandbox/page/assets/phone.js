// The phone: what a phone does with the pushes that it gets.
import {now} from './clock.js';
import {mark} from './market.js';

const KINDS = {win: 'Won', loss: 'Lost', race: 'Race', bet: 'Bet'};

export class Phone {
  #tray;
  #template;
  #tapped;
  #shown = new Map(); // by tag
  #nids = new Set();

  constructor(tray, template, tapped) {
    this.#tray = tray;
    this.#template = template;
    this.#tapped = tapped;
  }

  // show puts a push on the screen. One with the tag of another takes its place, as
  // Android does it; an older one that comes late is dropped, as data.seq asks for.
  show(push) {
    const {nid, seq, category} = push.data;
    if (nid && this.#nids.has(nid)) return false; // the same again: its answer was lost on the way
    const tag = push.tag || push.data.thread || `nid:${nid}`;
    let card = this.#shown.get(tag);
    if (card?.isConnected && Number(seq) < Number(card.dataset.seq)) return false;
    const replaces = Boolean(card?.isConnected);
    if (!replaces) {
      card = this.#template.content.firstElementChild.cloneNode(true);
      this.#tray.prepend(card);
      this.#shown.set(tag, card);
    }
    this.#nids.add(nid);
    card.dataset.seq = seq ?? 0;
    card.dataset.tag = tag;
    card.dataset.kind = category in KINDS ? category : 'other';
    card.querySelector('.title').textContent = push.title;
    card.querySelector('.text').textContent = push.body;
    card.querySelector('.kind').textContent = KINDS[category] ?? '';
    const at = card.querySelector('time');
    at.dateTime = push.at;
    at.textContent = new Date(push.at).toLocaleTimeString([], {hour: '2-digit', minute: '2-digit', hour12: false});
    card.querySelector('.again').hidden = !replaces;
    card.onclick = () => this.#tapped(push.data.link ?? '');
    card.classList.remove('new', 'changed');
    if (now() - Date.parse(push.at) < 5000) mark(card, replaces ? 'changed' : 'new');
    while (this.#tray.children.length > 12) this.#tray.lastElementChild.remove();
    return true;
  }

  clear() {
    this.#tray.replaceChildren();
    this.#shown.clear();
  }
}
