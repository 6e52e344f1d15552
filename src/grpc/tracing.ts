import { status as Code, type Metadata } from '@grpc/grpc-js';
import {
  isSpanContextValid,
  propagation,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  trace,
  type Context,
  type Link,
  type Span,
  type TextMapGetter,
  type Tracer,
} from '@opentelemetry/api';
import { DomainError } from '../errors.js';
import type { CallTrace } from '../redis/call.js';

const NAME = 'shardkeep';

/** What a caller sent beside its request. */
export interface Carried {
  readonly metadata: Metadata;
  /** Many calls came with it: a span of each would make one trace of all that a connection ever did. */
  readonly isShared: boolean;
}

export interface TracedCall {
  /** `package.Service/Method`. */
  readonly rpc: string;
  readonly namespace: string;
  readonly carried: Carried;
}

/** Of the statuses of gRPC those that are the service's own failure, by OpenTelemetry's conventions. */
const SERVER_ERRORS: ReadonlySet<Code> = new Set([
  Code.UNKNOWN,
  Code.DEADLINE_EXCEEDED,
  Code.UNIMPLEMENTED,
  Code.INTERNAL,
  Code.UNAVAILABLE,
  Code.DATA_LOSS,
]);

const getter: TextMapGetter<Metadata> = {
  keys: (metadata) => Object.keys(metadata.getMap()),
  get: (metadata, key) => metadata.get(key).map(String),
};

/** Makes spans of calls and of what they ask of Redis, for whatever OpenTelemetry SDK the process was started with. */
export class Tracing {
  private constructor(private readonly tracer: Tracer) {}

  /** Undefined where no SDK was registered before: nothing is traced then, and calls pay nothing for it. */
  static ofProcess(version: string): Tracing | undefined {
    const tracer = trace.getTracer(NAME, version);
    // without an SDK all spans are nothing; one that never ends is not exported
    const isRegistered = isSpanContextValid(tracer.startSpan('probe').spanContext());
    return isRegistered ? new Tracing(tracer) : undefined;
  }

  /** Undefined where the SDK does not want this call. */
  begin({ rpc, namespace, carried }: TracedCall): RpcTrace | undefined {
    const came = propagation.extract(ROOT_CONTEXT, carried.metadata, getter);
    const isChild = !carried.isShared;
    const parent = isChild ? came : ROOT_CONTEXT;
    const span = this.tracer.startSpan(
      rpc,
      {
        kind: SpanKind.SERVER,
        attributes: { 'rpc.system.name': 'grpc', 'rpc.method': rpc, 'shardkeep.namespace': namespace },
        links: isChild ? [] : linksTo(came),
      },
      parent,
    );
    return span.isRecording() ? new RpcTrace(this.tracer, span, trace.setSpan(parent, span)) : undefined;
  }
}

function linksTo(came: Context): Link[] {
  const context = trace.getSpanContext(came);
  return context === undefined ? [] : [{ context }];
}

/** The spans of one call. */
export class RpcTrace implements CallTrace {
  constructor(
    private readonly tracer: Tracer,
    private readonly span: Span,
    private readonly context: Context,
  ) {}

  async operation<Result>(command: string, script: string | undefined, work: () => Promise<Result>): Promise<Result> {
    const span = this.tracer.startSpan(
      script ?? command,
      {
        kind: SpanKind.CLIENT,
        attributes: {
          'db.system.name': 'redis',
          'db.operation.name': command,
          ...(script === undefined ? {} : { 'db.stored_procedure.name': script }),
        },
      },
      this.context,
    );
    try {
      return await work();
    } catch (error) {
      // not its message: that of a reply may name a key
      span.setAttribute('error.type', error instanceof DomainError ? error.code : '_OTHER');
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  }

  /** Called once. */
  end(code: Code): void {
    const { span } = this;
    span.setAttribute('rpc.response.status_code', Code[code]);
    if (SERVER_ERRORS.has(code)) {
      span.setAttribute('error.type', Code[code]);
      span.setStatus({ code: SpanStatusCode.ERROR });
    }
    span.end();
  }
}
