import type { handleBidiStreamingCall, Server } from '@grpc/grpc-js';
import type { PackageDefinition } from '@grpc/proto-loader';
import { ReflectionService } from '@grpc/reflection';
import { DomainError } from '../errors.js';
import { refusalOr, type Authority } from './authority.js';
import { notAllowed } from './principal.js';
import { toStatus } from './status.js';
import { endStream } from './trailers.js';

type Handler = handleBidiStreamingCall<unknown, unknown>;

/** Tells admins what is served: everybody, where everybody is one. */
export function addReflection(server: Server, services: PackageDefinition, authority: Authority): void {
  new ReflectionService(services).addToServer({
    addService: (definition, handlers) => {
      const guarded = Object.entries(handlers).map(([name, handler]) => [
        name,
        forAdmins(handler as Handler, authority),
      ]);
      server.addService(definition, Object.fromEntries(guarded) as Record<string, Handler>);
    },
  });
}

function forAdmins(handler: Handler, authority: Authority): Handler {
  return (grpcCall) => {
    const refusal = refusalOr(() => {
      if (!authority.principalOf(grpcCall).isAdmin) throw notAllowed('rpc');
    });
    if (refusal instanceof DomainError) endStream(grpcCall, toStatus(refusal));
    else handler(grpcCall);
  };
}
