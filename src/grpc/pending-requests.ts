/**
 * The requests on one connection that have begun and are not complete. How much of them has come cannot be asked of grpc-js,
 * but not more than all that came since the oldest of them began.
 */
export class PendingRequests {
  /** The oldest first. */
  private readonly requests = new Map<object, number>();
  private begun = 0;
  /** Of messages whose requests go on: what was compressed is longer than what came. */
  private messageBytes = 0;
  /** Requests begun, and bytes read, at the last look, and at one before the oldest that is pending began. */
  private looked = { begun: 0, bytesRead: 0 };
  private bytesReadBefore = 0;

  constructor(private readonly maxRequestBytes: number) {}

  begin(request: object): void {
    this.requests.set(request, this.begun++);
  }

  received(bytes: number): void {
    this.messageBytes += bytes;
  }

  /** With as many bytes as were received of it. */
  end(request: object, bytes: number): void {
    this.requests.delete(request);
    this.messageBytes -= bytes;
  }

  /** Looks how much of them there may be, in bytes; `bytesRead`: on the connection until now. */
  look(bytesRead: number): number {
    const [oldest] = this.requests.values();
    if (oldest === undefined || oldest >= this.looked.begun) this.bytesReadBefore = this.looked.bytesRead;
    this.looked = { begun: this.begun, bytesRead };
    const mostBytes = this.messageBytes + bytesRead - this.bytesReadBefore;
    return Math.min(this.requests.size * this.maxRequestBytes, mostBytes);
  }
}
