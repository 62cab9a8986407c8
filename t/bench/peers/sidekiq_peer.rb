# Sidekiq: sidekiq_peer.rb PORT N M.  N jobs are queued before its workers
# start; then M are sent one at a time.  Prints {"rate", "p50"} as JSON.
#
# Two processes for two cores, with the ten threads each that it recommends;
# jobs are pushed in bulk.  Sidekiq has no results: the job puts its own into a
# list that expires.  It takes a job from the queue before it runs it, so one
# that dies with its worker is lost.

require 'json'
require 'redis'
require 'sidekiq'

# It writes a line for each call otherwise, of what Sidekiq might do better.
Redis.silence_deprecations = true if Redis.respond_to?(:silence_deprecations=)
Redis.sadd_returns_boolean = false if Redis.respond_to?(:sadd_returns_boolean=)

port = ENV['PEER_PORT'] ||= ARGV[0]
URL = "redis://127.0.0.1:#{port}/0"
PAD = 'x' * (ENV['PEER_PAD'] || 280).to_i

Sidekiq.configure_server do |config|
  config.redis = { url: URL }
  config.logger.level = Logger::ERROR
end

Sidekiq.configure_client { |config| config.redis = { url: URL } }

class Echo
  include Sidekiq::Worker
  sidekiq_options retry: 3

  def perform(fields)
    result = JSON.generate(result: "#{fields['arg1']}_result")
    Sidekiq.redis do |redis|
      redis.pipelined do |pipeline|
        pipeline.lpush("result:#{jid}", result)
        pipeline.expire("result:#{jid}", 3600)
      end
    end
  end
end

def results
  Sidekiq.redis do |redis|
    redis.dbsize - redis.keys('[^r]*').size
  end
end

def now
  Process.clock_gettime(Process::CLOCK_MONOTONIC)
end

# From the first result on.  What else is in Redis is a handful of keys.

def drained(count)
  first = nil
  began = nil
  loop do
    done = Sidekiq.redis { |redis| redis.dbsize }
    if began.nil? && done > 16
      first = done
      began = now
    end
    left = Sidekiq.redis { |redis| redis.llen('queue:default') }
    if left.zero? && results >= count
      return (count - first) / (now - began)
    end
    sleep 0.01
  end
end

def main
  count = ARGV[1].to_i
  singles = ARGV[2].to_i

  (1..count).each_slice(1000) do |slice|
    Sidekiq::Client.push_bulk('class' => Echo,
                              'args' => slice.map { [{ 'arg1' => PAD }] })
  end

  pids = Array.new(2) do
    spawn('sidekiq', '-r', File.expand_path(__FILE__), '-c', '10',
          out: File::NULL)
  end

  begin
    rate = drained(count)
    took = Array.new(singles) do
      start = now
      jid = Echo.perform_async('arg1' => PAD)
      Sidekiq.redis { |redis| redis.blpop("result:#{jid}", timeout: 30) }
      1e6 * (now - start)
    end
  ensure
    pids.each { |pid| Process.kill('TERM', pid) }
    pids.each { |pid| Process.wait(pid) }
  end

  puts JSON.generate(n: count, rate: rate, p50: took.sort[singles / 2])
end

main if $PROGRAM_NAME == __FILE__
