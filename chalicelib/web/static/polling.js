/** Asking again and again, as seldom as does: less while nothing changes, not at all out of sight. */

const AFTER_FAILURE_MS = 60_000;
const SLOWER = 1.5;

/**
 * How often to ask: soon after something changed, then ever less often.
 * @typedef {{least: number, most: number}} Pace in milliseconds
 */

/** Repeats an act while the page is seen. */
export class Poll {
  /**
   * @param {() => Promise<boolean>} act tells whether something changed
   * @param {() => Pace} pace as it is to be now
   * @param {(problem: Error) => void} failed is told why an act failed; it is tried again later
   */
  constructor(act, pace, failed) {
    this.act = act;
    this.pace = pace;
    this.failed = failed;
    this.wait = 0;
    this.timer = 0;
    this.acting = false;
    this.wanted = false;
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) clearTimeout(this.timer);
      else this.now();
    });
  }

  /** Act at once; where an act is under way, once more behind it. */
  async now() {
    clearTimeout(this.timer);
    if (this.acting) {
      this.wanted = true;
      return;
    }
    this.acting = true;
    do {
      this.wanted = false;
      await this.once();
    } while (this.wanted);
    this.acting = false;
    if (!document.hidden) this.timer = setTimeout(() => this.now(), this.wait);
  }

  async once() {
    const { least, most } = this.pace();
    try {
      const changed = await this.act();
      this.wait = changed ? least : Math.min(Math.max(this.wait * SLOWER, least), most);
    } catch (problem) {
      this.wait = Math.min(Math.max(this.wait * 2, least), AFTER_FAILURE_MS);
      this.failed(problem);
    }
  }
}
