const PREPARE_RETRY_MS = 250;

/** Prepares a node that just connected, again and again while it is loading or refuses, until its connection is gone. */
export function prepareNode(node: {
  readonly prepare: () => Promise<void>;
  readonly isConnected: () => boolean;
  readonly onPrepared: () => void;
  readonly onError: (error: unknown) => void;
}): void {
  node.prepare().then(
    () => {
      if (node.isConnected()) node.onPrepared();
    },
    (error: unknown) => {
      if (!node.isConnected()) return;
      node.onError(error);
      setTimeout(() => {
        if (node.isConnected()) prepareNode(node);
      }, PREPARE_RETRY_MS).unref();
    },
  );
}
