// What time it is. Whoever looks may have a clock that is wrong: races start, and
// pushes are new, by the clock of who tells of them.
let ahead = 0; // of the browser's clock, in milliseconds

export const now = () => Date.now() + ahead;

// setClock takes what time it is.
export const setClock = (at) => { ahead = at - Date.now(); };
