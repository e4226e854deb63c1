-- Sliding window: how many were granted in each slot of the past window, or at each microsecond where the slot is one.
--
-- KEYS[1]  the bucket
-- ARGV     take capacity window_us slot_us least most lease_us returnable awaited
--          back capacity window_us slot_us unspent spend_by_us
-- Answer   take: {granted, good_for_us, remaining, reset_us, retry_after_us, spend_by_us}    back: {returned}
--
-- Stored: msgpack of {base, offset, count, offset, count, …}, in order of the offsets. What is in slot base + offset
-- counts until a window has passed since that slot's end. A lease is in the slot in which it ends.
local mode, capacity, window, slot = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local max, min, floor, ceil = math.max, math.min, math.floor, math.ceil
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local here = floor(now / slot)
local slots, counts, entries, used = {}, {}, 0, 0

local function over(at)
  return (at + 1) * slot + window
end

local stored = redis.call('GET', KEYS[1])
if stored then
  local fine, log = pcall(cmsgpack.unpack, stored)
  if not fine or type(log) ~= 'table' or type(log[1]) ~= 'number' or #log % 2 == 0 then
    return redis.error_reply('ERR not a sliding window: ' .. KEYS[1])
  end
  local base = log[1]
  -- The clock was set back by more than a window: as if the newest were of now.
  local newest = base + (log[#log - 1] or 0)
  if (newest - here) * slot > window then base = base - (newest - here) end
  for i = 2, #log, 2 do
    local at, n = base + log[i], log[i + 1]
    if over(at) > now then
      entries = entries + 1
      slots[entries], counts[entries] = at, n
      used = used + n
    end
  end
end

local function save()
  if entries == 0 then
    redis.call('DEL', KEYS[1])
    return
  end
  local log = {slots[1]}
  for i = 1, entries do
    log[2 * i], log[2 * i + 1] = slots[i] - slots[1], counts[i]
  end
  redis.call('SET', KEYS[1], cmsgpack.pack(log), 'PX', string.format('%.0f', ceil((over(slots[entries]) - now) / 1000) + 1))
end

if mode == 'back' then
  local unspent, at, returned = tonumber(ARGV[5]), floor(ARGV[6] / slot), 0
  for i = 1, entries do
    if slots[i] == at then
      returned = min(unspent, counts[i])
      counts[i] = counts[i] - returned
      if counts[i] == 0 then
        table.remove(slots, i)
        table.remove(counts, i)
        entries = entries - 1
      end
      break
    end
  end
  if returned > 0 then save() end
  return {returned}
end

local least, most, lease, returnable = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), ARGV[8] == '1'
local awaited = tonumber(ARGV[9])
local there = max(capacity - used, 0)
local granted, good_for, retry_after = 0, 0, 0
if there >= least then
  granted = min(most, max(min(awaited, there - there % least), floor(there / 8)))
  if granted > least or returnable then good_for = lease end
  local at, i = floor((now + good_for) / slot), entries
  while i > 0 and slots[i] > at do i = i - 1 end
  if i > 0 and slots[i] == at then
    counts[i] = counts[i] + granted
  else
    table.insert(slots, i + 1, at)
    table.insert(counts, i + 1, granted)
    entries = entries + 1
  end
  used = used + granted
  save()
else
  local freed = there
  for i = 1, entries do
    freed = freed + counts[i]
    retry_after = over(slots[i]) - now
    if freed >= least then break end
  end
end
local reset = 0
if entries > 0 then reset = over(slots[entries]) - now end
return {granted, good_for, max(capacity - used, 0), reset, retry_after, now + good_for}
