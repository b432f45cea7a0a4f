/** Which detection is meant: by pointer or focus for the moment, or chosen until further notice. */

/** Fires `change` when another detection is meant. Numbers are places in the answer; -1: none. */
export class Selection extends EventTarget {
  constructor() {
    super();
    this.hot = -1;
    this.chosen = -1;
  }

  /** @returns {number} the one that is meant now */
  get meant() {
    return this.hot >= 0 ? this.hot : this.chosen;
  }

  /**
   * Mean one for the moment.
   * @param {number} index
   */
  point(index) {
    this.set(index, this.chosen);
  }

  /**
   * Choose one; choosing it again lets it go.
   * @param {number} index
   */
  choose(index) {
    this.set(this.hot, index === this.chosen ? -1 : index);
  }

  /** Mean none. */
  clear() {
    this.set(-1, -1);
  }

  set(hot, chosen) {
    if (hot === this.hot && chosen === this.chosen) return;
    this.hot = hot;
    this.chosen = chosen;
    this.dispatchEvent(new Event('change'));
  }
}

/**
 * Make a group one stop of the Tab key, with arrow keys from one member to the next.
 * @param {HTMLElement} group
 * @param {() => HTMLElement[]} members that can be reached now, in order
 * @param {(member: HTMLElement) => void} [arrived] is told where the arrow keys lead
 */
export function rove(group, members, arrived = () => {}) {
  group.addEventListener('focusin', (event) => leaveOneStop(members(), event.target));
  const steps = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 };
  group.addEventListener('keydown', (event) => {
    const reachable = members();
    const at = reachable.indexOf(document.activeElement);
    let to = at + (steps[event.key] ?? 0);
    if (event.key === 'Home') to = 0;
    if (event.key === 'End') to = reachable.length - 1;
    if (at < 0 || to === at) return;
    event.preventDefault();
    const member = reachable[(to + reachable.length) % reachable.length];
    member.focus();
    arrived(member);
  });
}

/**
 * Leave one member of a group for the Tab key to stop at.
 * @param {HTMLElement[]} members
 * @param {HTMLElement} [wanted] the first where it is none of them
 */
export function leaveOneStop(members, wanted) {
  const stop = members.includes(wanted) ? wanted : members[0];
  for (const member of members) member.tabIndex = member === stop ? 0 : -1;
}
