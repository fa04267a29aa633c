#!lua name=imchannel_v1
-- The functions of imchannel inside Redis. `imchannel setup` loads them. Redis stores them with its data and
-- replicates them.
--
-- A user who may FCALL can run only these functions. So no function has a loop, and each one accesses only
-- the keys that it is given.
--
-- A released library never changes. Another version uses another library and other function names, so that
-- programs of both versions work at the same time. The `setup` of a version does not touch the libraries of
-- other versions.

-- Health check: the library is loaded.
redis.register_function{
  function_name = 'imchannel_v1_loaded',
  callback = function() return 1 end,
  flags = {'no-writes'},
}

-- KEYS[1]: the hash of a file; ARGV: a field and its value. Writes only if the hash exists. Returns whether
-- it wrote.
redis.register_function('imchannel_v1_set_field_of_file', function(keys, args)
  if redis.call('EXISTS', keys[1]) == 0 then return 0 end
  redis.call('HSET', keys[1], args[1], args[2])
  return 1
end)
