// Checked by tsc, and never run: the README's examples, and mistakes that must be found.
import { EventGate, EventGateError, type GateEvent, type Gap, type Published } from "../../gateway/web/eventgate.js";

interface Order { id: number; amount: number }

const gate = new EventGate("https://events.example", {
  token: async ({ refresh }) => (refresh ? "new" : "old"),
  resume: "orders",
  onGap: ({ reason, channels }: Gap) => console.log(reason.length, channels[0].length),
  onError: (error) => error instanceof EventGateError && console.log(error.status + 1, error.type.length),
});

gate.on<Order>("order/**", (order, event) => console.log(order.amount + 1, event.channel.length), { after: "earliest" })
  .once("chat/lobby", (data, event, cursor) => console.log(data, event.id, cursor.length))
  .off("chat/lobby");

const one: Promise<Published> = gate.publish("order/1", { amount: 1 }, { type: "made", key: "1" });
const several: Promise<Published[]> = gate.publish([{ channel: "order/1", data: 1 }], { timeout: 1000 });
const sent: Promise<Published | undefined> = gate.emit("chat/lobby", "hello");

export async function read(signal: AbortSignal): Promise<GateEvent<Order> | undefined> {
  for await (const event of gate.events<Order>(["order/*", "audit"], { signal })) {
    if (event.data.amount > 3) return event;
  }
  await Promise.all([one, several, sent]);
  return undefined;
}

// @ts-expect-error: a handler is needed
gate.on("order/1");
// @ts-expect-error: there is no such transport
new EventGate("", { transport: "websocket" });
// @ts-expect-error: an order has no such field
gate.on<Order>("order/1", (order) => order.colour);
// @ts-expect-error: the state is the gate's own
gate.state = "open";
