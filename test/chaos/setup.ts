/** What a row runs on. */
export interface Setup {
  /** `aof-always`, `aof-everysec`, `none`: how Redis keeps what it was told. */
  readonly persistence?: 'aof-always' | 'aof-everysec' | 'none';
  readonly redisFlags?: readonly string[];
  /** Masters of a Cluster, each with a replica, in place of one Redis. */
  readonly clusterMasters?: number;
  /** Replicas of a master that three sentinels watch, in place of one Redis. */
  readonly sentinelReplicas?: number;
  /**
   * A master with a sentinel and a service at one side of a network, two replicas with two sentinels and another service at
   * the other, in place of one Redis. Each caller stays with the service of its side.
   */
  readonly sides?: boolean;
  /** A Redis whose clock can be set. */
  readonly steppedClock?: boolean;
  /** A network between the services and Redis that can fail. */
  readonly network?: boolean;
  /** Each service has such a network for itself. */
  readonly networks?: boolean;
  /** Processes of the service; 2 where it is absent. */
  readonly services?: number;
  readonly serviceEnv?: Readonly<Record<string, string>>;
  /** Health has a listener of its own, as the manifests have it. */
  readonly healthListener?: boolean;
  /** What node loads and is told before the service. */
  readonly nodeArgs?: readonly string[];
  /** How the services reach Redis, given its URL, where not by that. */
  readonly redisUrl?: (url: string) => string;
  /** The time of day of the services can be set. */
  readonly steppedServiceClock?: boolean;
  /** Clients reach the services through one address. */
  readonly balanced?: boolean;
  /** Whether the services live through it, so that they can be held to their deadline; false by default. */
  readonly servicesLive?: boolean;
  /** How long the load goes on after the fault; 5 s where it is absent. */
  readonly afterMs?: number;
}
