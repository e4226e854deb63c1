-- Token bucket as GCRA that knows of leases. The argument why it holds is in scripts.rs.
--
-- KEYS[1]  the bucket
-- ARGV     take capacity interval_ns window_us least most lease_us returnable awaited
--          back capacity interval_ns window_us unspent spend_by_us
-- Answer   take: {granted, good_for_us, remaining, reset_us, retry_after_us, spend_by_us}    back: {returned}
--
-- Stored: "US NS S1 O1 S2 O2". US.NS is the bucket's time: full when it is not after now. O1 requests are out on leases
-- that end at S1 or before, O2 on later ones that end at S2 or before. Computed in nanoseconds from now, which a double
-- holds exactly for a hundred days, and to half a microsecond for the hundred years that a bucket may take to fill.
local mode, capacity, interval = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full = capacity * interval
local ahead, s1, o1, s2, o2 = 0, 0, 0, 0, 0

local stored = redis.call('GET', KEYS[1])
if stored then
  local us, ns, a, n, b, m = string.match(stored, '^(%d+) (%d+) (%d+) (%d+) (%d+) (%d+)$')
  if not us then
    return redis.error_reply('ERR not a token bucket: ' .. KEYS[1])
  end
  -- A clock that was set back must not lock a bucket for longer than it takes to fill, nor a lease for a window.
  local window = ARGV[4] * 1000
  ahead = min((us - now) * 1000 + ns, full)
  s1, o1 = min((a - now) * 1000, window), tonumber(n)
  s2, o2 = min((b - now) * 1000, window), tonumber(m)
  if o1 > 0 and s1 <= 0 then
    ahead, o1 = max(ahead, s1 + (o1 + o2) * interval), 0
  end
  if o2 > 0 and s2 <= 0 then
    ahead, o2 = max(ahead, s2 + o2 * interval), 0
  end
  ahead = max(ahead, (o1 + o2) * interval, 0)
end

-- Nanoseconds until the whole is there again.
local function settled()
  local at = ahead
  if o1 > 0 then at = max(at, s1 + (o1 + o2) * interval) end
  if o2 > 0 then at = max(at, s2 + o2 * interval) end
  return at
end

local function save()
  local at = settled()
  if at <= 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  local us = floor(ahead / 1000)
  local text = string.format('%.0f %.0f %.0f %.0f %.0f %.0f', now + us, ahead - us * 1000,
    o1 > 0 and now + ceil(s1 / 1000) or 0, o1, o2 > 0 and now + ceil(s2 / 1000) or 0, o2)
  redis.call('SET', KEYS[1], text, 'PX', string.format('%.0f', ceil(at / 1000000) + 1))
end

if mode == 'back' then
  local unspent, ends = tonumber(ARGV[5]), (ARGV[6] - now) * 1000
  local returned = 0
  if ends > 0 then
    -- Not known in which of the two it is: out of the older first, which errs on the tight side.
    if ends <= s1 then
      returned = min(unspent, o1)
      o1 = o1 - returned
    end
    local rest = min(unspent - returned, o2)
    o2, returned = o2 - rest, returned + rest
  end
  if returned > 0 then
    ahead = max(ahead - returned * interval, (o1 + o2) * interval)
    save()
  end
  return {returned}
end

local least, most, lease, returnable = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local awaited = tonumber(ARGV[9])
local there = ahead > 0 and max(floor((full - ahead) / interval), 0) or capacity
local granted, good_for, retry_after = 0, 0, 0
if there >= least then
  granted = min(most, max(min(awaited, there - there % least), floor(there / 8)))
  ahead = ahead + granted * interval
  if granted > least or returnable then
    good_for = lease
    if o1 == 0 then
      s1, o1 = s2, o2
      s2, o2 = lease * 1000, granted
    else
      s2, o2 = max(s2, lease * 1000), o2 + granted
    end
    s2 = max(s1, s2)
  end
  save()
else
  retry_after = ahead + least * interval - full
  if o1 > 0 and o1 + o2 + least > capacity then
    retry_after = max(retry_after, s1 + (o1 + o2 + least - capacity) * interval)
  end
  if o2 > 0 and o2 + least > capacity then
    retry_after = max(retry_after, s2 + (o2 + least - capacity) * interval)
  end
end
local remaining = max(floor((full - ahead) / interval), 0)
return {granted, good_for, remaining, ceil(settled() / 1000), ceil(retry_after / 1000), now + good_for}
