/** Reads one text of a request; '' where it does not fill the field. */
export type FieldReader = (request: unknown) => string;

/**
 * Reads a string field by its proto name, or an entry of a map as `field.key`; undefined where the message has neither.
 * `defaults`: a message without any field set.
 */
export function readerOf(path: string, defaults: unknown): FieldReader | undefined {
  const [field = '', ...rest] = path.split('.');
  const name = field.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
  const key = rest.join('.');
  const byDefault = fieldOf(defaults, name);
  if (rest.length === 0 && typeof byDefault === 'string') {
    return (request) => textOrNone(fieldOf(request, name));
  }
  if (key !== '' && byDefault instanceof Map) {
    return (request) => {
      const entries = fieldOf(request, name);
      return entries instanceof Map ? textOrNone(entries.get(key)) : '';
    };
  }
  return undefined;
}

function fieldOf(message: unknown, name: string): unknown {
  if (typeof message !== 'object' || message === null || !Object.hasOwn(message, name)) return undefined;
  return message[name as keyof typeof message];
}

function textOrNone(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
