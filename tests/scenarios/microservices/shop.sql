-- The shop. An order is shipped, and order_shipped told of it, in one transaction: both have happened, or neither has.
CREATE TABLE orders (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    item text NOT NULL,
    cents integer NOT NULL,
    shipped_at timestamptz
);

-- `trace` is the traceparent of the request that led to it.
CREATE FUNCTION ship(order_id bigint, trace text) RETURNS void LANGUAGE sql AS $$
    UPDATE orders SET shipped_at = now() WHERE id = order_id;
    SELECT eventgate.publish('order/' || id, to_json(o), type => 'order_shipped', trace => ship.trace)
    FROM orders AS o WHERE id = order_id;
$$;
