/** `host:port` or `unix:/path`, as the settings name where to listen. */

/** Names the setting among the problems when nothing can listen there. */
export function checkListen(name: string, listen: string, problems: string[]): void {
  if (!isListenAddress(listen)) problems.push(`${name}: must be host:port or unix:/path`);
}

export function isListenAddress(listen: string): boolean {
  if (listen.startsWith('unix:')) return /^unix:(?:\/\/)?\/.+$/.test(listen);
  return Number(/^(?:\[[0-9a-f:.]+\]|[^:\s]+):(\d{1,5})$/i.exec(listen)?.[1]) <= 65_535;
}

/** True where only this machine can connect: what is said there crosses no network. */
export function isLocal(listen: string): boolean {
  return listen.startsWith('unix:') || /^(?:127\.\d+\.\d+\.\d+|localhost|\[::1\]):/.test(listen);
}
