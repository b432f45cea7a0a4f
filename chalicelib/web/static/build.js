/** Making elements, without HTML in strings: what strangers wrote stays text. */

const SVG = 'http://www.w3.org/2000/svg';

/**
 * Make an element.
 * @param {string} tag with classes, such as `p.soft`
 * @param {?Object<string, *>} attributes; `on…` are listeners, false and null are left out
 * @param {...(Node|string|number|null|false)} children
 * @returns {HTMLElement}
 */
export function make(tag, attributes = null, ...children) {
  const [name, ...classes] = tag.split('.');
  return filled(document.createElement(name), classes, attributes, children);
}

/**
 * Make an element of an SVG drawing, as `make` does.
 * @param {string} tag
 * @param {?Object<string, *>} attributes
 * @param {...(Node|string|number|null|false)} children
 * @returns {SVGElement}
 */
export function drawn(tag, attributes = null, ...children) {
  const [name, ...classes] = tag.split('.');
  return filled(document.createElementNS(SVG, name), classes, attributes, children);
}

function filled(element, classes, attributes, children) {
  element.classList.add(...classes);
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (key.startsWith('on')) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, '');
    else if (value !== false && value != null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child != null && child !== false).map(asNode));
  return element;
}

function asNode(child) {
  return child instanceof Node ? child : String(child);
}

/**
 * Make a list of terms and what they are; those that are null are left out.
 * @param {Array<[string, ?(Node|string|number)]>} pairs
 * @returns {HTMLElement}
 */
export function facts(pairs) {
  const told = pairs.filter(([, value]) => value != null);
  return make('dl.facts', null, ...told.map(([term, value]) => (
    make('div', null, make('dt', null, term), make('dd', null, value)))));
}

/**
 * @param {string} moment as the API writes it
 * @returns {HTMLElement} in the reader's own way, to the minute
 */
export function when(moment) {
  const options = { dateStyle: 'medium', timeStyle: 'short' };
  return make('time', { datetime: moment }, new Date(moment).toLocaleString(undefined, options));
}
