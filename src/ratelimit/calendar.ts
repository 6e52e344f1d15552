import { DateTime } from 'luxon';

export const CALENDAR_UNITS = ['minute', 'hour', 'day', 'week', 'month'] as const;

/** A week begins on Monday (ISO 8601). */
export type CalendarUnit = (typeof CALENDAR_UNITS)[number];

/** A window of the calendar, Unix ms: from the first to before the second. */
export interface CalendarWindow {
  readonly fromMs: number;
  readonly untilMs: number;
}

/**
 * The window of a unit in a time zone of the IANA database that has this time. Throws RangeError for a zone that is not
 * known.
 */
export function calendarWindow(unit: CalendarUnit, timeZone: string, nowMs: number): CalendarWindow {
  const now = DateTime.fromMillis(nowMs, { zone: timeZone });
  if (!now.isValid) throw new RangeError(`no time zone ${timeZone}`);
  const from = now.startOf(unit);
  // where a clock is put back, the start of an hour or minute may be of the one before
  const until = from.plus({ [unit]: 1 }).startOf(unit);
  return { fromMs: from.toMillis(), untilMs: until.toMillis() };
}
