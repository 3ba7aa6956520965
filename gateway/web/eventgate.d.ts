/** What JSON can say. */
export type Json = null | boolean | number | string | Json[] | { [name: string]: Json };

/** One published event. */
export interface GateEvent<Data = any> {
  /** Durable: its place in the log, the same on every gateway. */
  id: string;
  channel: string;
  /** Given by its publisher; durable channels only. */
  type?: string;
  /** RFC 3339, UTC. */
  time: string;
  /** W3C Trace Context of its publisher. */
  trace?: string;
  data: Data;
}

/** Events of these channels may be missing between two cursors: load the state anew. */
export interface Gap {
  reason: "reconnect" | "retention" | "slow" | "failover" | "unknown";
  from: string | null;
  to: string;
  channels: string[];
}

/** `idle`: nothing has been subscribed to. `waiting`: the connection is lost, and comes again in `wait` milliseconds. */
export type State = "idle" | "connecting" | "open" | "waiting" | "closed";

/** What was refused for good, or is not known: never told where trying again helps. */
export class EventGateError extends Error {
  /** The HTTP status; 0: there was no answer. */
  readonly status: number;
  /** `unauthorized`, `forbidden`, `unknown-channel`, `outcome-unknown`, and so on. */
  readonly type: string;
  /** Under which the gateway's log has more. */
  readonly requestId: string;
  readonly channels: string[];
  readonly retryAfter: number;
  /** Will trying again not help? */
  readonly isFinal: boolean;
}

export interface GateOptions {
  /**
   * A token for the header `Authorization`, or a function that gives one. It is called when one is needed, before the one
   * that it gave ends (`exp`), and with `refresh: true` also when that was refused.
   */
  token?: string | ((why: { refresh: boolean }) => string | Promise<string>);
  /** Send cookies to a gateway of another origin. */
  credentials?: boolean;
  /** `auto`: EventSource where no header is needed, else fetch; long-poll where streams don't get through. */
  transport?: "auto" | "eventsource" | "fetch" | "poll";
  /** In which time (ms) a stream must have brought its first cursor, if short answers get through; 5000. */
  streamTimeout?: number;
  /**
   * One stream for all tabs of this origin (true). A string: only with tabs that say the same, as the user's name where
   * tabs may be of several. `false`: one for each EventGate.
   */
  shared?: boolean | string;
  /** Keep the cursors of what `on` has handled in `storage`, and go on there after a reload; a string: under this name. */
  resume?: boolean | string;
  /** Where (sessionStorage). */
  storage?: Pick<Storage, "getItem" | "setItem">;
  /** Closes it. */
  signal?: AbortSignal;
  onGap?: (gap: Gap) => void;
  /** Without it, errors are reported as those that nobody catches. */
  onError?: (error: Error) => void;
  /** `transport`: what carries the stream that is open, `eventsource`, `fetch` or `poll`. */
  onState?: (state: State, detail: { wait?: number; reason?: string; transport?: string }) => void;
}

export interface SubscribeOptions {
  /** Where to begin: a cursor or an event's id, `earliest`, or `now` (default; with `resume`, the stored cursor). */
  after?: string;
  /** Ends the subscription. */
  signal?: AbortSignal;
  /** It has begun: what is committed from now on is delivered. */
  onOpen?: (cursor: string) => void;
  /** Instead of the EventGate's. */
  onGap?: (gap: Gap) => void;
  /** Instead of the EventGate's. It has ended. */
  onError?: (error: EventGateError) => void;
}

export interface PublishOptions {
  /** Durable channels only. */
  type?: string;
  /** Idempotency key, durable channels only; one is made if none is given (null: none). */
  key?: string | null;
  /** A W3C `traceparent`, which the event carries as its `trace`; one of a live channel can't, there the gateway's log has it. */
  trace?: string;
  signal?: AbortSignal;
  /** For how long (ms) to try; 60000. */
  timeout?: number;
}

export interface BatchItem {
  channel: string;
  data: unknown;
  type?: string;
  key?: string | null;
  /** Durable channels only. */
  trace?: string;
}

/** 201: in the log, with this id. 202: live, committed. In a batch also what was refused. */
export interface Published {
  status: number;
  id?: string;
  /** An earlier publish with this key was it. */
  replayed?: boolean;
  problem?: { type: string; title: string; status: number; detail: string };
}

/** `cursor`: the place behind this event, where one can go on (`after`), in all channels of the stream. */
export type Handler<Data = any> = (data: Data, event: GateEvent<Data>, cursor: string) => unknown;

/** Channels of one gateway. */
export class EventGate {
  /** `url`: where the gateway is; by default where this module was loaded from. */
  constructor(url?: string | URL, options?: GateOptions);
  readonly state: State;
  /** Calls `handler` for each event of a channel or pattern. */
  on<Data = any>(channel: string, handler: Handler<Data>, options?: SubscribeOptions): this;
  /** The same for one event. */
  once<Data = any>(channel: string, handler: Handler<Data>, options?: SubscribeOptions): this;
  /** Ends what `on` began: of this handler, or all of the channel. */
  off(channel: string, handler?: Handler): this;
  /** Events as an async iterator; it throws what would be told to `onError`, and the signal's reason. */
  events<Data = any>(channels: string | string[], options?: Omit<SubscribeOptions, "onError">): AsyncGenerator<GateEvent<Data>, void, void>;
  /** Publishes one event. */
  publish(channel: string, data: unknown, options?: PublishOptions): Promise<Published>;
  /** Publishes several, in order; each has a row in the answer. */
  publish(batch: BatchItem[], options?: Pick<PublishOptions, "signal" | "timeout">): Promise<Published[]>;
  /** publish() for who doesn't wait: an error is told to `onError`, and the answer is undefined then. */
  emit(channel: string, data: unknown, options?: PublishOptions): Promise<Published | undefined>;
  /** Ends all subscriptions. */
  close(): void;
}
