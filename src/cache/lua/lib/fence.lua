-- The fence of an entry: which tokens were accepted, and how long that is remembered. All numbers are big-endian.
--
--   0  6    until, Unix ms: forgotten from then on
--   6  n×16 marks (redis/lua/fence.lua)
--
-- A guard is 16 bytes of the form of a mark and 6 bytes: how many ms the fence is kept.
--- @include "../../../redis/lua/fence.lua"
local FENCE_UNTIL_BYTES = 6

-- Until when a fence is kept; 0 where there is none.
local function fence_until(fence)
  return fence and struct.unpack('>I6', fence) or 0
end

-- The fence as long as it is kept; nil afterwards.
local function live_fence(fence)
  if fence_until(fence) > now_ms then return fence end
  return nil
end

-- The fence once `guard` is accepted; else nil and the reply that refuses it.
local function raise_fence(fence, guard)
  local marks, refusal = raise_marks(fence and string.sub(fence, FENCE_UNTIL_BYTES + 1) or '', guard)
  if refusal then return nil, refusal end
  local retention_ms = struct.unpack('>I6', guard, FENCE_MARK_BYTES + 1)
  return struct.pack('>I6', now_ms + retention_ms) .. marks
end
