package Bench::Peers;

# Other queues, each with a Redis of its own, beside ours: a task that does
# nothing, JSON in, result out.

use strict;
use warnings;

use File::Spec ();

use Workflow;
use Bench::Stand;
use Bench::Tool;

use constant { OURS => 100_000, ALONE => 300, LLAMA => 'llama_deploy' };

my $build = File::Spec->rel2abs($ENV{BUILD} // 'build');
my $here = 't/bench/peers';

# n: tasks that take a few seconds; each command ends with Redis' port (but
# llama_deploy's, which starts its own), the number queued and the number that
# is sent one at a time.

my @peers = (
    { name => 'Celery', version => '5.7.0', needs => 'celery', n => 5000,
        how => 'prefork, two processes, prefetch multiplier 128, results kept',
        command => ["$build/bench/venv/bin/python", "$here/celery_peer.py"] },

    { name => 'BullMQ', version => '6.7.0', needs => 'node', n => 50_000,
        how => 'concurrency 64, added in bulk, removed on completion',
        command => ['node', "$here/node_peer.js", 'bullmq'] },

    { name => 'Bee-Queue', version => '2.0.0', needs => 'node', n => 50_000,
        how => 'concurrency 64, added in bulk, no storeJobs, removed on'
            . ' success',
        command => ['node', "$here/node_peer.js", 'bee-queue'] },

    { name => 'Sidekiq', version => '', needs => 'sidekiq',
        n => 20_000, how => 'two processes with ten threads each, pushed in'
            . ' bulk, the job writes its result',
        command => ['ruby', "$here/sidekiq_peer.rb"] },

    { name => LLAMA, version => '0.4.4', needs => 'llama_deploy',
        n => 50, m => 10, own_redis => 1, how => 'its defaults; an own session'
            . ' for each task',
        command => ["$build/interop/venv/bin/python", '-W', 'ignore',
            "$here/llama_peer.py"] },
);

# What can be had of them, and texts of what cannot.

sub install {
    my ($report, @only) = @_;
    my (%tried, @there);

    for my $peer (@peers) {
        next if @only && !grep { lc $peer->{name} eq lc } @only;

        my $log = "$build/bench/$peer->{needs}.log";
        print STDERR "installing for $peer->{name}\n"
            if !defined $tried{$peer->{needs}};
        $tried{$peer->{needs}} //= system("sh $here/install.sh $peer->{needs}"
            . " >$log 2>&1") == 0 ? 1 : 0;

        if ($tried{$peer->{needs}}) {
            $peer->{version} ||= debian_version("ruby-$peer->{needs}");
            push @there, $peer;
        } else {
            left_out($report, $peer->{name},
                "it cannot be installed, see $log");
        }
    }

    return @there;
}

# Debian's packages are not pinned: what is there is told.

sub debian_version {
    my ($package) = @_;
    my $version = `dpkg-query -W -f '\${Version}' $package`;
    $version =~ s/[+-].*//s;
    return $version;
}

sub left_out {
    my ($report, $name, $why) = @_;
    my $text = uc($name) . " IS LEFT OUT: $why";
    print STDERR '*' x 64, "\n**  $text\n", '*' x 64, "\n";
    $report->note($text);
}

sub measure {
    my ($report, @only) = @_;
    my @there = install($report, @only);

    $ENV{NODE_PATH} = "$build/bench/node_modules";
    $ENV{PYTHONDONTWRITEBYTECODE} = 1;

    my $samples = $report->rounds('peers', ours => \&ours,
        map { my $peer = $_; ($peer->{name} => sub { run($report, $peer) }) }
            @there);

    $report->group('Tasks a second, queued before the workers start',
        'the peer; ours: echo, one worker, 8 at a time (the default)');
    each_peer($report, $samples, 'rate', '1/s', @there);

    $report->group('One task at a time, until its result is there: p50',
        'the peer; ours: POST, until its completed_task arrives');
    each_peer($report, $samples, 'p50', 'us', @there);
}

# Goals: twice the best of those that are queues and nothing else, and less time
# than any takes.

sub each_peer {
    my ($report, $samples, $what, $unit, @there) = @_;
    @there = grep { $samples->{$_->{name}}{$what} } @there;

    my %median = map { $_->{name} => Bench::Report::spread(
        @{ $samples->{$_->{name}}{$what} })->{median} } @there;
    my ($best) = sort { $median{$b} <=> $median{$a} }
        grep { $_ ne LLAMA } keys %median;

    for my $peer (@there) {
        my $name = $peer->{name};
        my @goal = $what ne 'rate' ? (at_most => 1)
            : $name eq LLAMA ? (at_least => 300)
            : $name eq $best ? (at_least => 2) : ();

        $report->row("$name $peer->{version}"
                . ($what eq 'rate' && $name eq ($best // '') ? ', the best'
                    : ''), unit => $unit, @goal,
            floor => $samples->{$name}{$what},
            ours => $samples->{ours}{$what});
        $report->note("$name: $peer->{how}") if $what eq 'rate';
    }
}

sub ours {
    my $stand = Bench::Stand->new(services => { echo => '' });
    my $rate = $stand->drain('echo', OURS)->{rate};
    my $alone = $stand->bench('send', via => 'http', n => ALONE,
        http => $stand->nginx->port, path => '/echo/process_message');
    return { rate => $rate, p50 => $alone->{p50} };
}

# One that fails once is left out of the rounds that follow.

sub run {
    my ($report, $peer) = @_;
    return {} if $peer->{failed};

    my $redis = $peer->{own_redis} ? undef : Workflow::Redis->new;
    my $answer = eval {
        Bench::Tool::run(@{ $peer->{command} },
            $redis ? $redis->port : (), $peer->{n}, $peer->{m} // ALONE);
    };

    if (!$answer) {
        $peer->{failed} = 1;
        left_out($report, $peer->{name}, "it fails: $@");
        return {};
    }

    return { rate => $answer->{rate}, p50 => $answer->{p50} };
}

1;
