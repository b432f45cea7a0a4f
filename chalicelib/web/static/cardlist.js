/** A list of cards that comes in pages, of all models or of those with some letters in their name. */

const byId = (id) => document.getElementById(id);

/**
 * @typedef {{models: object[], next: ?string}} Page the models, and behind which name the next begins
 */

/** The cards in the element of an id, with `no-…` to say that there are none, and `more-…` for more. */
export class CardList {
  /**
   * @param {string} id
   * @param {(letters: string, after: ?string) => Promise<Page>} fetchPage
   * @param {(model: object) => Element} draw
   */
  constructor(id, fetchPage, draw) {
    this.fetchPage = fetchPage;
    this.draw = draw;
    this.holder = byId(id);
    this.none = byId(`no-${id}`);
    this.further = byId(`more-${id}`);
    this.noneAtAll = this.none.textContent;
    this.letters = '';
    this.next = null;
    this.turn = 0;
  }

  /** @returns {boolean} whether there is more than is shown */
  get hasMore() {
    return this.next !== null;
  }

  /**
   * Show the first page; of two that are asked for, the later one.
   * @param {string} letters in the names; empty: whatever is in them
   * @throws {import('./api.js').Problem}
   */
  async show(letters) {
    this.letters = letters;
    await this.take(null);
  }

  /**
   * Show another page below. Whoever is at the button stays there, or goes to the first new card.
   * @throws {import('./api.js').Problem}
   */
  async more() {
    const shown = this.holder.children.length;
    const held = document.activeElement === this.further;
    await this.take(this.next);
    if (held && !this.hasMore) this.holder.children[shown]?.querySelector('a')?.focus();
  }

  async take(after) {
    this.turn += 1;
    const turn = this.turn;
    const { models, next } = await this.fetchPage(this.letters, after);
    if (turn !== this.turn) return;
    const cards = models.map(this.draw);
    if (after === null) this.holder.replaceChildren(...cards);
    else this.holder.append(...cards);
    this.next = next ?? null;
    this.further.hidden = !this.hasMore;
    this.none.hidden = this.holder.children.length > 0;
    this.none.textContent = this.letters ? `None with “${this.letters}” in its name.` : this.noneAtAll;
  }
}
