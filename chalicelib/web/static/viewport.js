/** How much of a photo is seen: zoom and pan with mouse, wheel, fingers and keys. */

const CLOSEST = 40; // CSS pixels for one of the photo
const LARGEST_FIT = 3;
const CRISP_FROM = 3;
const WHEEL_STEP = 0.0022;
const MARGIN_PX = 20; // around the photo, as in label.css

/** Fires `zoom`, and `hold` when fingers or a drag take the photo over, `release` afterwards. */
export class Viewport extends EventTarget {
  /**
   * @param {HTMLElement} scroller the window on the photo
   * @param {HTMLElement} frame what holds the photo
   */
  constructor(scroller, frame) {
    super();
    this.scroller = scroller;
    this.frame = frame;
    this.size = { width: 1, height: 1 };
    this.scale = 1;
    /** Whether a drag moves the photo. */
    this.moving = false;
    this.spaceHeld = false;
    /** @type {Map<number, {x: number, y: number}>} fingers or the mouse, where they are down */
    this.pointers = new Map();
    this.held = false;
    new ResizeObserver(() => this.resized()).observe(scroller);
    scroller.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    const options = { capture: true };
    scroller.addEventListener('pointerdown', (event) => this.down(event), options);
    window.addEventListener('pointermove', (event) => this.drag(event), options);
    for (const end of ['pointerup', 'pointercancel']) {
      window.addEventListener(end, (event) => this.up(event), options);
    }
  }

  /**
   * Show the whole of a photo.
   * @param {{width: number, height: number}} size in its pixels
   */
  open(size) {
    this.size = size;
    this.fit();
  }

  /** @returns {number} the scale at which all of it is seen */
  get fitting() {
    const { clientWidth, clientHeight } = this.scroller;
    const across = (clientWidth - 2 * MARGIN_PX) / this.size.width;
    const down = (clientHeight - 2 * MARGIN_PX) / this.size.height;
    return Math.max(Math.min(across, down, LARGEST_FIT), 1e-3);
  }

  /** @returns {boolean} whether all of it is seen */
  get fits() {
    return this.scale <= this.fitting * 1.001;
  }

  fit() {
    this.fitted = true;
    this.show(this.fitting);
  }

  resized() {
    if (this.fitted) this.fit();
  }

  /**
   * Zoom by a factor, with one point staying where it is.
   * @param {number} factor
   * @param {{x: number, y: number}} [at] in the window; the middle where it is missing
   */
  zoomBy(factor, at = this.middle()) {
    const least = this.fitting;
    const scale = Math.min(Math.max(this.scale * factor, least), Math.max(CLOSEST, least));
    this.fitted = scale <= least * 1.001;
    const before = this.frame.getBoundingClientRect();
    const share = [(at.x - before.left) / before.width, (at.y - before.top) / before.height];
    this.show(scale);
    const after = this.frame.getBoundingClientRect();
    this.scroller.scrollLeft += after.left + share[0] * after.width - at.x;
    this.scroller.scrollTop += after.top + share[1] * after.height - at.y;
  }

  /** Whole CSS pixels, so that nothing is lost where a library rounds to them. */
  show(scale) {
    this.scale = scale;
    const { style } = this.frame;
    style.width = `${Math.round(this.size.width * scale)}px`;
    style.height = `${Math.round(this.size.height * scale)}px`;
    this.frame.classList.toggle('crisp', scale >= CRISP_FROM);
    this.dispatchEvent(new Event('zoom'));
  }

  middle() {
    const { left, top, width, height } = this.scroller.getBoundingClientRect();
    return { x: left + width / 2, y: top + height / 2 };
  }

  /**
   * @param {{clientX: number, clientY: number}} event
   * @returns {{x: number, y: number}} where that is, in pixels of the photo
   */
  toPhoto({ clientX, clientY }) {
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    return {
      x: ((clientX - left) / width) * this.size.width,
      y: ((clientY - top) / height) * this.size.height,
    };
  }

  /** @returns {{x1: number, y1: number, x2: number, y2: number}} what is seen, in the photo's pixels */
  seen() {
    const { left, top, right, bottom } = this.scroller.getBoundingClientRect();
    const from = this.toPhoto({ clientX: left, clientY: top });
    const to = this.toPhoto({ clientX: right, clientY: bottom });
    return {
      x1: Math.max(from.x, 0),
      y1: Math.max(from.y, 0),
      x2: Math.min(to.x, this.size.width),
      y2: Math.min(to.y, this.size.height),
    };
  }

  /**
   * Scroll to a box, unless all of it is seen already.
   * @param {{x1: number, y1: number, x2: number, y2: number}} box
   */
  reveal(box) {
    const seen = this.seen();
    const inside = box.x1 >= seen.x1 && box.y1 >= seen.y1 && box.x2 <= seen.x2 && box.y2 <= seen.y2;
    if (!inside) this.centre(box);
  }

  /**
   * Zoom so that a box fills a good part of the window.
   * @param {{x1: number, y1: number, x2: number, y2: number}} box
   */
  zoomTo(box) {
    const { clientWidth, clientHeight } = this.scroller;
    const scale = Math.min(
      (clientWidth * 0.4) / (box.x2 - box.x1),
      (clientHeight * 0.4) / (box.y2 - box.y1),
    );
    this.zoomBy(scale / this.scale);
    this.centre(box);
  }

  centre(box) {
    const { left, top, width, height } = this.frame.getBoundingClientRect();
    const middle = this.middle();
    this.scroller.scrollLeft += left
      + ((box.x1 + box.x2) / 2 / this.size.width) * width - middle.x;
    this.scroller.scrollTop += top
      + ((box.y1 + box.y2) / 2 / this.size.height) * height - middle.y;
  }

  wheel(event) {
    if (event.shiftKey) return; // sideways, as the browser does it
    event.preventDefault();
    const delta = event.deltaMode === 1 ? event.deltaY * 18 : event.deltaY;
    const strength = event.ctrlKey ? 4 : 1; // a pinch on a touchpad comes as small steps
    const at = { x: event.clientX, y: event.clientY };
    this.zoomBy(Math.exp(-delta * WHEEL_STEP * strength), at);
  }

  /** Two fingers always hold the photo; one, or the mouse, where a drag is to move it. */
  down(event) {
    if (event.target === this.scroller) return; // a scroll bar
    if (event.pointerType === 'touch' || this.grabs(event)) {
      this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    }
    if (this.pointers.size > 1 || this.grabs(event)) this.hold();
    if (this.held) event.stopPropagation();
    if (this.held && event.pointerType === 'mouse') event.preventDefault();
  }

  grabs(event) {
    if (event.pointerType === 'mouse' && event.button === 1) return true;
    if (this.spaceHeld) return true;
    return this.moving && event.button === 0 && !event.target.closest('.a9s-annotation.selected');
  }

  hold() {
    if (this.held) return;
    this.held = true;
    this.travelled = 0;
    this.dispatchEvent(new Event('hold'));
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const others = [...this.pointers].filter(([id]) => id !== event.pointerId);
    const now = { x: event.clientX, y: event.clientY };
    this.pointers.set(event.pointerId, now);
    if (!this.held) return;
    event.stopPropagation();
    const share = 1 / this.pointers.size;
    this.travelled += Math.hypot(now.x - before.x, now.y - before.y);
    this.scroller.scrollLeft -= (now.x - before.x) * share;
    this.scroller.scrollTop -= (now.y - before.y) * share;
    if (others.length === 1) this.pinch(before, now, others[0][1]);
  }

  pinch(before, now, other) {
    const apart = Math.hypot(before.x - other.x, before.y - other.y);
    const further = Math.hypot(now.x - other.x, now.y - other.y);
    if (apart < 10 || further < 10) return;
    this.zoomBy(further / apart, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 });
  }

  up(event) {
    const known = this.pointers.delete(event.pointerId);
    if (!known || !this.held) return;
    event.stopPropagation();
    if (this.pointers.size) return;
    this.held = false;
    this.dispatchEvent(new CustomEvent('release', { detail: { event, travelled: this.travelled } }));
  }
}
