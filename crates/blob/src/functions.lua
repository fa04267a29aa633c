#!lua name=imchannel_v1
-- The functions that imchannel has in Redis. `imchannel setup` loads them; Redis keeps them with its data and hands them to its
-- replicas.
--
-- Whoever may FCALL can run nothing but these, so none of them has a loop, and each asks and writes only the keys that it is given.
--
-- A released library never changes what it does: another version has a library and functions of other names beside these, so that
-- programs of both versions work at the same time, and each version's `setup` leaves the other's library alone.

-- Says that this library is loaded.
redis.register_function{
  function_name = 'imchannel_v1_loaded',
  callback = function() return 1 end,
  flags = {'no-writes'},
}

-- KEYS[1]: the hash of a file; ARGV: a field, its value. Writes nothing for a file that has no hash, and says whether it wrote.
redis.register_function('imchannel_v1_set_field_of_file', function(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 0 end
  redis.call('HSET', keys[1], args[1], args[2])
  return 1
end)
