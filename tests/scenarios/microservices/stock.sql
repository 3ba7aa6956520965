-- The stock's own database. `place`: how far it has read of the shop's events.
CREATE TABLE movement (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, item text NOT NULL);
CREATE TABLE progress AS SELECT 'earliest'::text AS place;
