/** Number and class at each box of a photo, placed in shares of it. */

import { colourOf } from './palette.js';

const MOST_WITH_NUMBERS = 60;
const TAG_ROOM = 0.06;

/** The layer of tags. */
export class Tags {
  /** @param {HTMLElement} layer over the photo */
  constructor(layer) {
    this.layer = layer;
    /** @type {Map<import('./draft.js').LabelBox, {text: string, tag: HTMLElement}>} as drawn */
    this.drawn = new Map();
  }

  /**
   * Draw a tag for each box.
   * @param {import('./draft.js').LabelBox[]} boxes
   * @param {?string} chosen whose class is told as well
   * @param {{width: number, height: number}} size of the photo
   */
  draw(boxes, chosen, size) {
    const few = boxes.length <= MOST_WITH_NUMBERS;
    const told = boxes.map((box, index) => ({ box, index }))
      .filter(({ box }) => few || box.id === chosen);
    const before = this.drawn;
    this.drawn = new Map(told.map(({ box, index }) => {
      const text = `${index + 1}${box.id === chosen ? ` ${box.className}` : ''}`;
      const known = before.get(box);
      return [box, known?.text === text ? known : { text, tag: tagOf(box, text, size) }];
    }));
    for (const [box, { tag }] of this.drawn) tag.classList.toggle('chosen', box.id === chosen);
    this.layer.replaceChildren(...[...this.drawn.values()].map(({ tag }) => tag));
  }
}

function tagOf(box, text, size) {
  const place = document.createElement('span');
  place.className = 'tag-place';
  place.classList.toggle('tag-inside', box.y1 / size.height < TAG_ROOM);
  place.classList.toggle('tag-right', (box.x1 + box.x2) / 2 / size.width > 0.6);
  place.style.left = `${(box.x1 / size.width) * 100}%`;
  place.style.top = `${(box.y1 / size.height) * 100}%`;
  place.style.width = `${((box.x2 - box.x1) / size.width) * 100}%`;
  place.style.height = `${((box.y2 - box.y1) / size.height) * 100}%`;
  place.style.setProperty('--mark', colourOf(box.classId));
  const tag = document.createElement('span');
  tag.className = 'number';
  tag.textContent = text;
  place.append(tag);
  return place;
}
