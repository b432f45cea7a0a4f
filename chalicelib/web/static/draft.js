/**
 * What somebody makes of a prediction's boxes: with undo and redo, and kept in this browser until it
 * is sent, so that a reload or a failure loses nothing.
 *
 * @typedef {{id: string, classId: number, className: string, was: ?number,
 *            x1: number, y1: number, x2: number, y2: number}} LabelBox
 *   `was`: place among the predicted boxes, null for one that was drawn
 */

const PREFIX = 'sightloop-draft:';
const MOST_DRAFTS = 40;
const MOST_STEPS = 500;
const EDGES = ['x1', 'y1', 'x2', 'y2'];

/** A list of boxes that is being worked on. Fires `change`. */
export class Draft extends EventTarget {
  /**
   * Take up what was left of an earlier visit, or begin with the predicted boxes.
   * @param {string} predictionId
   * @param {import('./api.js').Detection[]} detections
   */
  constructor(predictionId, detections) {
    super();
    this.key = PREFIX + predictionId;
    /** @type {LabelBox[]} */
    this.predicted = detections.map(boxOf);
    const kept = read(this.key);
    /** @type {LabelBox[]} */
    this.boxes = kept?.boxes ?? this.predicted;
    /** What the service said when it was sent; null: there is something to send. */
    this.outcome = kept?.outcome ?? null;
    this.resumed = Boolean(kept);
    this.kept = true;
    this.past = [];
    this.future = [];
    this.step = '';
    this.serial = Math.max(0, ...this.boxes.map(({ id }) => Number(id.slice(1)) || 0));
  }

  /** @returns {boolean} whether the boxes are others than those predicted */
  get changed() {
    if (this.boxes.length !== this.predicted.length) return true;
    return this.boxes.some((box) => this.changeOf(box) !== 'as found');
  }

  /**
   * @param {LabelBox} box
   * @returns {'new' | 'as found' | 'moved' | 'other class'}
   */
  changeOf(box) {
    const before = this.predicted[box.was];
    if (!before) return 'new';
    if (before.classId !== box.classId) return 'other class';
    return EDGES.every((edge) => before[edge] === box[edge]) ? 'as found' : 'moved';
  }

  /**
   * @param {?string} id
   * @returns {?LabelBox}
   */
  find(id) {
    return this.boxes.find((box) => box.id === id) ?? null;
  }

  /**
   * Add a box.
   * @param {Omit<LabelBox, 'id' | 'was'>} box
   * @returns {string} its id
   */
  add(box) {
    this.serial += 1;
    const id = `b${this.serial}`;
    this.set([...this.boxes, { ...box, id, was: null }]);
    return id;
  }

  /**
   * Change a box. Changes of one kind to one box in a row are one step of undo.
   * @param {string} id
   * @param {Partial<LabelBox>} change
   * @param {string} [kind] such as `nudge`; empty: a step of its own
   */
  edit(id, change, kind = '') {
    const boxes = this.boxes.map((box) => (box.id === id ? { ...box, ...change } : box));
    this.set(boxes, kind && `${kind} ${id}`);
  }

  /** @param {string} id */
  remove(id) {
    this.set(this.boxes.filter((box) => box.id !== id));
  }

  set(boxes, step = '') {
    if (JSON.stringify(boxes) === JSON.stringify(this.boxes)) return;
    if (!step || step !== this.step) this.past = [...this.past.slice(-MOST_STEPS), this.boxes];
    this.step = step;
    this.future = [];
    this.take(boxes);
  }

  /** Let the next change be a step of its own. */
  settle() {
    this.step = '';
  }

  /** @returns {boolean} whether there was anything to undo */
  undo() {
    if (!this.past.length) return false;
    this.future.push(this.boxes);
    this.settle();
    this.take(this.past.pop());
    return true;
  }

  /** @returns {boolean} whether there was anything to redo */
  redo() {
    if (!this.future.length) return false;
    this.past.push(this.boxes);
    this.settle();
    this.take(this.future.pop());
    return true;
  }

  take(boxes) {
    this.boxes = boxes;
    this.outcome = null;
    this.keep();
    this.dispatchEvent(new Event('change'));
  }

  /**
   * Note what became of it once it was sent; null: it is open again.
   * @param {?object} outcome
   */
  close(outcome) {
    this.outcome = outcome;
    this.keep();
    this.dispatchEvent(new Event('change'));
  }

  /** Keep it in this browser; where that is forbidden or full, say so by `kept`. */
  keep() {
    const { boxes, outcome } = this;
    try {
      if (!outcome && !this.changed) localStorage.removeItem(this.key);
      else localStorage.setItem(this.key, JSON.stringify({ at: Date.now(), boxes, outcome }));
      this.kept = true;
      prune();
    } catch {
      this.kept = false;
    }
  }
}

function boxOf(detection, index) {
  const { class_id: classId, class_name: className, box } = detection;
  return { id: `b${index + 1}`, classId, className, was: index, ...box };
}

function read(key) {
  try {
    const kept = JSON.parse(localStorage.getItem(key));
    return Array.isArray(kept?.boxes) ? kept : null;
  } catch {
    return null;
  }
}

/** Forget the oldest drafts, so that those to come have room. */
function prune() {
  const keys = Object.keys(localStorage).filter((key) => key.startsWith(PREFIX));
  if (keys.length <= MOST_DRAFTS) return;
  const byAge = keys.sort((a, b) => (read(a)?.at ?? 0) - (read(b)?.at ?? 0));
  for (const key of byAge.slice(0, keys.length - MOST_DRAFTS)) localStorage.removeItem(key);
}
