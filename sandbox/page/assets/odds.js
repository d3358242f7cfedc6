// How odds are written. On the wire they are the profit for a stake of 1: 2.5 is
// 5/2, or 3.50 in decimal odds, which count the stake as well.

// The usual ladder of bookmakers, in lowest terms as Bugle's pushes have them.
const LADDER = (
  '1/100 1/66 1/50 1/40 1/33 1/25 1/20 1/16 1/14 1/12 1/11 1/10 1/9 1/8 1/7 2/13 1/6 2/11 1/5 2/9 1/4 2/7 3/10 1/3 4/11 2/5 4/9 1/2 8/15 4/7 8/13 ' +
  '2/3 8/11 4/5 5/6 10/11 1/1 11/10 6/5 5/4 11/8 3/2 13/8 7/4 15/8 2/1 9/4 5/2 11/4 3/1 10/3 7/2 4/1 9/2 5/1 11/2 6/1 13/2 7/1 15/2 8/1 17/2 9/1 ' +
  '10/1 11/1 12/1 14/1 16/1 18/1 20/1 22/1 25/1 28/1 33/1 40/1 50/1 66/1 80/1 100/1 125/1 150/1 200/1 250/1 300/1 400/1 500/1 1000/1'
).split(' ').map((text) => {
  const [profit, stake] = text.split('/').map(Number);
  return {text, value: profit / stake};
});

// fraction returns the step of the ladder that is nearest; of two that are as near,
// the shorter one. What is no odds is a dash.
export function fraction(odds) {
  if (!(odds >= 0) || odds === Infinity) return '–';
  const nearest = LADDER.reduce((a, b) => (Math.abs(b.value - odds) < Math.abs(a.value - odds) ? b : a));
  return nearest.value === 1000 && odds > 1000 ? `${Math.round(odds)}/1` : nearest.text;
}

// decimal returns decimal odds.
export function decimal(odds) {
  return odds >= 0 && odds !== Infinity ? (1 + odds).toFixed(2) : '–';
}
