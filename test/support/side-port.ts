import type { ServiceProcess } from './service-process.js';

/** What the HTTP side port of a service answered. */
export interface SidePortAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The text as JSON. */
  readonly body: SidePortBody;
}

export interface SidePortBody {
  readonly status?: string;
  readonly [field: string]: unknown;
}

/** Asks the side port of a service that was started with ADMIN_LISTEN. */
export async function askSidePort(service: ServiceProcess, path: string, method = 'GET'): Promise<SidePortAnswer> {
  const { address } = await service.log('admin port listening');
  const response = await fetch(`http://${String(address)}${path}`, { method });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers,
    text,
    get body() {
      return JSON.parse(text) as SidePortBody;
    },
  };
}
