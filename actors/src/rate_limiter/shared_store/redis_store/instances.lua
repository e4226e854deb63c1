-- Who lives: a sorted set of instances by the time they were last heard of.
--
-- KEYS[1]  the set
-- ARGV     register id silence_us     tells that `id` lives and forgets those not heard of for longer than that
--          unregister id
-- Answer   how many live
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
if ARGV[1] == 'unregister' then
  redis.call('ZREM', KEYS[1], ARGV[2])
else
  redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[2])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('(%.0f', now - ARGV[3]))
  redis.call('PEXPIRE', KEYS[1], string.format('%.0f', math.ceil(ARGV[3] / 1000)))
end
return redis.call('ZCARD', KEYS[1])
