/** The way from a detection to the tool that corrects it: the photo is kept, then it is opened there. */

import { OPTIONS, Problem } from './api.js';
import { keepPhoto } from './contribute.js';
import { promise } from './visibility.js';

const byId = (id) => document.getElementById(id);

/** The button under the list of detections. */
export class Mend {
  constructor() {
    this.stopping = new AbortController();
  }

  /**
   * Say what the button does, also after another photo came into view.
   * @param {?import('./api.js').Model} model that looked at the photo
   */
  reset(model) {
    this.stopping.abort();
    this.tell(promise(model), false);
  }

  /**
   * Keep a photo, and go to the tool with the boxes that are shown.
   * @param {import('./work.js').Photo} photo
   * @param {import('./api.js').Model} model
   * @param {number} confidence above which boxes are shown
   */
  async open(photo, model, confidence) {
    this.stopping.abort();
    this.stopping = new AbortController();
    const { signal } = this.stopping;
    const step = (text) => { if (!signal.aborted) this.tell(text, true); };
    step('Keeping the photo …');
    try {
      const options = { ...OPTIONS, confidence };
      const id = await keepPhoto(model, photo.file, options, step, signal);
      if (!signal.aborted) window.location.assign(`label?prediction=${encodeURIComponent(id)}`);
    } catch (error) {
      if (signal.aborted) return;
      const { title, detail } = error instanceof Problem ? error : { title: 'Failed', detail: error };
      this.tell(`${title}: ${detail}`, false);
    }
  }

  tell(text, busy) {
    byId('mend').disabled = busy;
    byId('mend-note').textContent = text;
    byId('mend-note').setAttribute('role', 'status');
  }
}
