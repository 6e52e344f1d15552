-- The highest fencing token that a record has accepted of each resource that guards it: up to 4 marks of 16 bytes, the
-- first 8 bytes of SHA-256(resource) and the token (8, big-endian, below 2^53). A guard, as a caller brings it, begins
-- with 16 bytes of the same form.
local FENCE_MARK_BYTES = 16
local FENCE_MAX_MARKS = 4

-- The marks once `guard` is accepted, '' being none; else nil and the reply that refuses it.
local function raise_marks(marks, guard)
  local resource, token = string.sub(guard, 1, 8), struct.unpack('>I8', guard, 9)
  local kept, others = '', 0
  for at = 1, #marks, FENCE_MARK_BYTES do
    local mark = string.sub(marks, at, at + FENCE_MARK_BYTES - 1)
    if string.sub(mark, 1, 8) == resource then
      local highest = struct.unpack('>I8', mark, 9)
      if token < highest then return nil, {'FENCED', decimal(highest)} end
    else
      kept = kept .. mark
      others = others + 1
    end
  end
  if others == FENCE_MAX_MARKS then return nil, {'TOO_MANY_GUARDS', '0'} end
  return string.sub(guard, 1, FENCE_MARK_BYTES) .. kept
end
