-- The highest fencing token that a record has accepted of each resource that guards it. All numbers are big-endian.
--
--   0  6    until, Unix ms: forgotten from then on
--   6  n×16 the first 8 bytes of SHA-256(resource), the token (8, below 2^53)
--
-- A guard, as a caller brings it, is 16 bytes of the same form and 6 bytes: how many ms the fence is kept.
local FENCE_UNTIL_BYTES = 6
local FENCE_MARK_BYTES = 16
local FENCE_MAX_MARKS = 4

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
  local resource, token, retention_ms = string.sub(guard, 1, 8), struct.unpack('>I8I6', guard, 9)
  local marks, others = '', 0
  if fence then
    for at = FENCE_UNTIL_BYTES + 1, #fence, FENCE_MARK_BYTES do
      local mark = string.sub(fence, at, at + FENCE_MARK_BYTES - 1)
      if string.sub(mark, 1, 8) == resource then
        local highest = struct.unpack('>I8', mark, 9)
        if token < highest then return nil, {'FENCED', decimal(highest)} end
      else
        marks = marks .. mark
        others = others + 1
      end
    end
  end
  if others == FENCE_MAX_MARKS then return nil, {'TOO_MANY_GUARDS', '0'} end
  return struct.pack('>I6', now_ms + retention_ms) .. string.sub(guard, 1, FENCE_MARK_BYTES) .. marks
end
