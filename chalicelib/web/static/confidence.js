/** The confidence slider: what is below is hidden, without asking anybody. */

import { DEFAULT_CONFIDENCE } from './api.js';
import { colourOf } from './palette.js';
import { percent } from './words.js';

const byId = (id) => document.getElementById(id);

/** The slider, with a tick for each detection. Fires `change` while it moves. */
export class Confidence extends EventTarget {
  constructor() {
    super();
    this.slider = byId('confidence');
    this.slider.value = String(DEFAULT_CONFIDENCE * 100);
    this.slider.addEventListener('input', () => this.moved());
    byId('default').addEventListener('click', () => {
      this.slider.value = String(DEFAULT_CONFIDENCE * 100);
      this.slider.focus();
      this.moved();
    });
    this.label();
  }

  /** @returns {number} 0 to 1; what is above is shown */
  get value() {
    return Number(this.slider.value) / 100;
  }

  /**
   * Count what is shown: an answer is sorted, the most confident first.
   * @param {?import('./api.js').Answer} answer
   * @returns {number}
   */
  countOf(answer) {
    return answer?.detections.filter((each) => each.confidence > this.value).length ?? 0;
  }

  /**
   * Draw the ticks of an answer.
   * @param {import('./api.js').Answer} answer
   */
  draw(answer) {
    const low = Number(this.slider.min) / 100;
    const span = Number(this.slider.max) / 100 - low;
    const ticks = answer.detections.map(({ class_id: classId, confidence }) => {
      const tick = document.createElement('i');
      tick.style.left = `${(Math.min(Math.max(confidence - low, 0) / span, 1)) * 100}%`;
      tick.style.setProperty('--mark', colourOf(classId));
      return tick;
    });
    byId('ticks').replaceChildren(...ticks);
    this.shade(answer);
  }

  /**
   * Say how many are hidden, and fade their ticks.
   * @param {import('./api.js').Answer} answer
   */
  shade(answer) {
    const shown = this.countOf(answer);
    const hidden = answer.detections.length - shown;
    [...byId('ticks').children].forEach((tick, at) => tick.classList.toggle('faint', at >= shown));
    byId('withheld').textContent = hidden ? `${hidden} less certain, hidden` : 'Nothing hidden';
  }

  moved() {
    this.label();
    this.dispatchEvent(new Event('change'));
  }

  label() {
    byId('level').textContent = percent(this.value);
    this.slider.setAttribute('aria-valuetext', percent(this.value));
    byId('default').hidden = this.value === DEFAULT_CONFIDENCE;
    byId('default').textContent = `Back to ${percent(DEFAULT_CONFIDENCE)}`;
  }
}
