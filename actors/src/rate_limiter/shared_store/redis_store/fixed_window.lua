-- Fixed window: a counter that begins anew with every multiple of the window since the epoch.
--
-- KEYS[1]  the bucket
-- ARGV     take capacity window_us least most lease_us returnable awaited
--          back capacity window_us unspent spend_by_us
-- Answer   take: {granted, good_for_us, remaining, reset_us, retry_after_us, spend_by_us}    back: {returned}
--
-- Stored: "WINDOW COUNT".
local mode, capacity, window = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local index, count = floor(now / window), 0

local stored = redis.call('GET', KEYS[1])
if stored then
  local i, n = string.match(stored, '^(%d+) (%d+)$')
  if not i then
    return redis.error_reply('ERR not a fixed window: ' .. KEYS[1])
  end
  i = tonumber(i)
  -- A later window than now's: the clock was set back. A little: go on in that window. Far: count it to this one.
  if i >= index then
    count = tonumber(n)
    if i == index + 1 then index = i end
  end
end
local left = (index + 1) * window - now

local function save()
  redis.call('SET', KEYS[1], string.format('%.0f %.0f', index, count), 'PX', string.format('%.0f', ceil(left / 1000) + 1))
end

if mode == 'back' then
  local unspent, returned = tonumber(ARGV[4]), 0
  if floor(ARGV[5] / window) == index then
    returned = min(unspent, count)
  end
  if returned > 0 then
    count = count - returned
    if count > 0 then save() else redis.call('DEL', KEYS[1]) end
  end
  return {returned}
end

local least, most, lease, returnable = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local awaited = tonumber(ARGV[8])
local there = max(capacity - count, 0)
local granted, good_for, retry_after = 0, 0, 0
if there >= least then
  granted = min(most, max(min(awaited, there - there % least), floor(there / 8)))
  count = count + granted
  if granted > least or returnable then
    good_for = min(lease, left - 1)
  end
  save()
else
  retry_after = left
end
local reset = 0
if count > 0 then reset = left end
return {granted, good_for, max(capacity - count, 0), reset, retry_after, now + good_for}
