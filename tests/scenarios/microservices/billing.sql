-- Billing's own database. `place`: how far it has read of the shop's events.
CREATE TABLE invoice (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint NOT NULL, cents integer NOT NULL);
CREATE TABLE progress AS SELECT 'earliest'::text AS place;
