// Numbers, money and times as people read them; in the browser's language, times in its zone.

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const instant = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });
const thisYear = new Intl.DateTimeFormat(undefined, { month: 'short', day: 'numeric', hour: 'numeric', minute: '2-digit' });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const dayOnly = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short', timeZone: 'UTC' });
const ago = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto', style: 'short' });

export const NONE = '–';

export const count = (value) => (value === null || value === undefined ? NONE : whole.format(value));
export const compact = (value) => (value === null || value === undefined ? NONE : short.format(value));

/** Micro-USD as dollars: as many digits as it takes to say something. */
export function money(micro) {
  if (micro === null || micro === undefined) return NONE;
  const dollars = micro / 1e6;
  const size = Math.abs(dollars);
  const digits = size === 0 || size >= 0.01 ? { minimumFractionDigits: 2, maximumFractionDigits: size && size < 1 ? 4 : 2 } : { maximumSignificantDigits: 3 };
  return `$${dollars.toLocaleString(undefined, digits)}`;
}

/** Dollars as somebody typed them, in micro-USD; null for an empty text, NaN for what is no amount. */
export function micro(text) {
  const typed = text.trim().replace(/^\$/, '').replaceAll(',', '');
  if (!typed) return null;
  return /^\d+(\.\d{1,6})?$/.test(typed) ? Math.round(Number(typed) * 1e6) : Number.NaN;
}

/** Micro-USD for a field in which dollars are typed. */
export const dollars = (value) => (value === null || value === undefined ? '' : String(value / 1e6));

export const percent = (part) => `${Math.round(part * 100)} %`;
/** A time, without the year where it is the present one. */
export function time(text) {
  if (!text) return NONE;
  const date = new Date(text);
  return (date.getFullYear() === new Date().getFullYear() ? thisYear : instant).format(date);
}
export const exactTime = (text) => (text ? exact.format(new Date(text)) : NONE);
export const day = (text) => dayOnly.format(new Date(`${text}T00:00:00Z`));

const STEPS = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

/** How long ago, or how far ahead. */
export function since(text) {
  if (!text) return NONE;
  const seconds = (new Date(text) - Date.now()) / 1000;
  const [unit, size] = STEPS.find(([, length]) => Math.abs(seconds) >= length) ?? STEPS.at(-1);
  return ago.format(Math.round(seconds / size), unit);
}

export function seconds(value) {
  if (value < 1) return `${Math.round(value * 1000)} ms`;
  if (value < 60) return `${value.toFixed(1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  const power = Math.min(Math.floor(Math.log(Math.max(value, 1)) / Math.log(1000)), 4);
  return `${(value / 1000 ** power).toFixed(power ? 1 : 0)} ${['B', 'kB', 'MB', 'GB', 'TB'][power]}`;
}

/** The first words of a text, on one line. */
export const excerpt = (text, length = 160) => text.slice(0, length * 2).replace(/\s+/g, ' ').trim().slice(0, length);
