-- The outbox of webhooks: the rows are written in the transaction of the deed, so that each is told if it happened and
-- not if it was rolled back. What is told of members stands in the files of the same name of the apps above.

CREATE OR REPLACE FUNCTION outbox_put(what text, whom uuid, happened timestamptz, told jsonb) RETURNS void
LANGUAGE sql SET search_path FROM CURRENT AS $$
    INSERT INTO network_webhookmessage (public_id, endpoint_id, event, member, happened_at, data, state,
                                        attempt_count, created_at, next_at)
    SELECT gen_random_uuid(), e.id, what, whom, happened, told, 'waiting', 0, now(), now()
      FROM network_webhookendpoint e WHERE e.is_on AND what = ANY(e.events) ORDER BY e.id
$$
