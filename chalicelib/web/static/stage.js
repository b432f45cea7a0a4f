/** The photo in view: the picture with its boxes, how large it is shown, and how it stands. */

import { Boxes } from './boxes.js';
import { bytes } from './words.js';

const LABEL_ROOM_PX = 36;
const ZOOMS = [1, 1.5, 2, 3, 4, 6, 8];
const byId = (id) => document.getElementById(id);

/** The large view of one photo. */
export class Stage {
  /**
   * @param {import('./selection.js').Selection} selection
   * @param {{again: Function, remove: Function}} acts on the photo in view
   */
  constructor(selection, acts) {
    this.selection = selection;
    this.boxes = new Boxes(byId('boxes'), selection);
    this.photo = null;
    this.drawn = null;
    this.image = byId('photo');
    this.image.addEventListener('load', () => this.fit());
    this.image.addEventListener('error', () => this.fit());
    byId('zoom-in').addEventListener('click', () => this.zoomBy(1));
    byId('zoom-out').addEventListener('click', () => this.zoomBy(-1));
    byId('zoom-fit').addEventListener('click', () => this.zoomTo(0));
    byId('retry').addEventListener('click', () => acts.again(this.photo));
    for (const id of ['remove', 'discard']) {
      byId(id).addEventListener('click', () => acts.remove(this.photo));
    }
    byId('view').addEventListener('keydown', (event) => this.key(event));
    selection.addEventListener('change', () => this.bringIntoView());
    this.zoomTo(0);
  }

  /**
   * Show a photo, or none.
   * @param {?import('./work.js').Photo} photo
   */
  show(photo) {
    byId('empty').hidden = Boolean(photo);
    byId('view').hidden = !photo;
    const other = photo !== this.photo;
    this.photo = photo;
    if (!photo) this.image.removeAttribute('src');
    if (!photo) return;
    if (other) this.open(photo);
    this.update();
  }

  open(photo) {
    this.selection.clear();
    this.zoomTo(0);
    this.drawn = null;
    this.boxes.draw(null);
    this.image.src = photo.address;
    this.image.alt = photo.name;
    byId('view').setAttribute('aria-labelledby', `tab-${photo.id}`);
  }

  /** Bring everything up to how the photo stands now. */
  update() {
    const { photo } = this;
    if (photo.answer !== this.drawn) {
      this.drawn = photo.answer;
      this.selection.clear();
      this.boxes.draw(photo.answer);
      this.fit();
    }
    const busy = photo.state === 'queued' || photo.state === 'working';
    byId('view').dataset.state = photo.state;
    byId('scroller').setAttribute('aria-busy', String(busy));
    byId('progress').hidden = !busy;
    byId('progress').textContent = photo.step;
    byId('caption').textContent = captionOf(photo);
    this.tellProblem(photo.problem);
  }

  /**
   * Show the first so many boxes.
   * @param {number} count
   */
  showFirst(count) {
    this.boxes.showFirst(count);
  }

  tellProblem(problem) {
    byId('problem').hidden = !problem;
    if (!problem) return;
    byId('problem-title').textContent = problem.title;
    byId('problem-detail').textContent = sentence(problem.detail);
    byId('problem-advice').textContent = problem.advice;
    byId('problem-reference').textContent = problem.reference && `Reference ${problem.reference}`;
    byId('retry').hidden = !problem.retry && problem.status < 500;
  }

  /** The photo's shape is the answer's where there is one: a browser may not know the format. */
  fit() {
    const width = this.drawn?.image.width ?? this.image.naturalWidth;
    const height = this.drawn?.image.height ?? this.image.naturalHeight;
    const scroller = byId('scroller');
    scroller.style.setProperty('--ratio', width && height ? width / height : 1.5);
    scroller.style.setProperty('--natural', `${width || 600}px`);
    scroller.classList.toggle('blind', this.image.complete && !this.image.naturalWidth);
  }

  zoomBy(step) {
    this.zoomTo(Math.min(Math.max(this.zoom + step, 0), ZOOMS.length - 1));
  }

  /** Zoom, with the middle of what is seen staying in the middle. */
  zoomTo(zoom) {
    this.zoom = zoom;
    const scroller = byId('scroller');
    const x = (scroller.scrollLeft + scroller.clientWidth / 2) / scroller.scrollWidth;
    const y = (scroller.scrollTop + scroller.clientHeight / 2) / scroller.scrollHeight;
    scroller.style.setProperty('--zoom', ZOOMS[zoom]);
    scroller.scrollLeft = x * scroller.scrollWidth - scroller.clientWidth / 2;
    scroller.scrollTop = y * scroller.scrollHeight - scroller.clientHeight / 2;
    byId('zoom-fit').textContent = zoom ? `${ZOOMS[zoom]}×` : 'Fit';
    byId('zoom-fit').setAttribute('aria-label', zoom ? `${ZOOMS[zoom]}×, fit again` : 'Fit');
    byId('zoom-out').disabled = zoom === 0;
    byId('zoom-in').disabled = zoom === ZOOMS.length - 1;
    if (zoom) scroller.tabIndex = 0;
    else scroller.removeAttribute('tabindex');
  }

  /** Scroll to the box that is meant, unless it is the pointer that means it. */
  bringIntoView() {
    const box = this.boxes.boxes[this.selection.meant];
    if (!this.zoom || !box || byId('boxes').matches(':hover')) return;
    const scroller = byId('scroller');
    const { clientWidth: width, clientHeight: height } = scroller;
    const beside = Math.max((width - box.offsetWidth) / 2, LABEL_ROOM_PX);
    const above = Math.max((height - box.offsetHeight) / 2, LABEL_ROOM_PX);
    scroller.scrollTo(box.offsetLeft - beside, box.offsetTop - above);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === 'Escape') this.selection.clear();
    if (event.key === '+') this.zoomBy(1);
    if (event.key === '-') this.zoomBy(-1);
    if (event.key === '0') this.zoomTo(0);
  }
}

function captionOf(photo) {
  const { image } = photo.answer ?? {};
  const size = image ? `${image.width} × ${image.height}` : bytes(photo.file.size);
  return `${photo.name}, ${size}`;
}

function sentence(text) {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(start) ? start : `${start}.`;
}
