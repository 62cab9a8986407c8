# soak.pl SECONDS: load on two NGINX with two workers each while workers are
# killed, NGINX is reloaded and upgraded, and Redis fails; then whether
# everything that was acknowledged has ended, and ended once.

use strict;
use warnings;

use List::Util qw(first max min sum0);
use Time::HiRes qw(time);

use Workflow;
use Workflow::Plugin;
use Soak::Faults;
use Soak::Ledger;
use Soak::Loop;
use Soak::Sender;

use constant {
    RATE => 40,                # tasks in a second
    ATTEMPTS => 5,
    LEASE => 2,
    DRAIN => 60,               # seconds for the last tasks to end
    TAKEOVER => 10,            # seconds: a lease is two, Redis may be away
    GROWTH => 32 * 1024,       # kilobytes that a worker may grow
    DESCRIPTORS => 16,
    SHOWN => 10,
};

my $seconds = $ARGV[0] // 120;
die "usage: soak.pl SECONDS, at least 10\n" if $seconds !~ /^[1-9]\d+$/;

my @services = qw(nap chain fan ask flaky);

STDOUT->autoflush(1);


# What is tested.

my $plugin = Workflow::Plugin->new('soak');

my $redis = Workflow::Redis->new(conf => <<'CONF');
appendonly yes
appendfsync always
client-output-buffer-limit pubsub 0 0 0
user driver on nopass ~* &* +@all
CONF

my $record = $redis->dir . '/record';
open my $file, '>', $record or die "$record: $!";
close $file;
chmod 0666, $record;
$ENV{SOAK_RECORD} = $record;

my ($attempts, $lease) = (ATTEMPTS, LEASE);
my @nginx = map { Workflow::Nginx->new(daemon => 1, log_level => 'warn',
    main => "env SOAK_RECORD;\n", http => <<"HTTP",
keepalive_requests 1000000;
workflow_load @{[ $plugin->path ]};
workflow_queue tasks { url @{[ $redis->url ]}; }
@{[ map { "workflow_service $_ { workflow $_; queue tasks; lease ${lease}s;
    max_attempts $attempts; retry_delay 200ms; retry_delay_max 1s;
    drain_timeout 1s; timeout 60s; }\n" } @services ]}
HTTP
    locations => join '', map { "location /$_/ { workflow_pass $_; }\n" }
        @services) } 1 .. 2;

$redis->subscribed(4, map { "llama_deploy.$_" } @services);


# The driver.

my $loop = Soak::Loop->new;
my $sender = Soak::Sender->new(loop => $loop, redis => $redis,
    ports => [map { $_->port } @nginx]);
my $ledger = Soak::Ledger->new(loop => $loop, redis => $redis,
    asked => \&answer);
my $faults = Soak::Faults->new(loop => $loop, redis => $redis,
    nginx => \@nginx, seconds => $seconds, cut => sub { $sender->cut });

# Whatever happens, nothing is left behind.

my $driver = $$;
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
END {
    if ($faults && $$ == $driver) {
        local $?;
        kill 'KILL', $faults->masters, $faults->workers;
    }
}

sub send_message {
    my ($service, $message, $acknowledged) = @_;

    if (rand() < 0.6) {
        $sender->post("/$service/process_message", $message, $acknowledged);
    } else {
        $sender->publish("llama_deploy.$service", $message, $acknowledged);
    }
}

my $n = 0;

sub submit {
    my $chance = rand;
    my ($service, $input, %more);

    if ($chance < 0.25) {
        ($service, $input) = ('nap', { ms => 50 + int rand 1200 });
    } elsif ($chance < 0.5) {
        ($service, $input) = ('chain', { ms => int rand 600 });
    } elsif ($chance < 0.65) {
        ($service, $input) = ('fan', { n => 8 });
    } elsif ($chance < 0.85) {
        ($service, $input) = ('ask', {});
    } else {
        my $fail = int rand 4;
        $more{doomed} = 1 if $fail == 3;
        ($service, $input) = ('flaky', { fail => $fail == 3 ? 100 : $fail });
    }

    my $id = "$service-" . ++$n;
    $ledger->sent($id, $service, %more);
    send_message($service, message('new_task', { task_id => $id,
        session_id => undef, input => to_json($input) }, id_ => "m-$id"),
        sub { $ledger->acknowledged($id) });
}

# A question is answered once; again only if Redis was away when it was asked.

sub answer {
    my ($id) = @_;
    my $task = $ledger->tasks->{$id};
    return if $task->{answered}++;

    $loop->after(rand(0.5), sub {
        send_message('ask', human_response($id, '42', id_ => "r-$id"),
            sub { $task->{answer_known} = 1 });
    });
}

sub usage {
    my %usage;

    for my $pid ($faults->workers) {
        open my $status, '<', "/proc/$pid/status" or next;
        local $/;
        my ($rss) = <$status> =~ /^VmRSS:\s+(\d+)/m or next;
        my @fds = glob "/proc/$pid/fd/*";
        $usage{$pid} = [$rss, scalar @fds];
    }

    return \%usage;
}


# Load and faults; then neither, until all has ended.

$ledger->listen;
$sender->start;

my $before = usage();
my $begin = time;

$faults->start;
$faults->every(0, sub { 1 / RATE }, \&submit);

$loop->run_until(sub { time - $begin > $seconds });

$faults->stop;
my $end = time;
my @open;

eval {
    $loop->run_until(sub {
        die "in time\n" if time - $end > DRAIN;
        $faults->over && !$sender->pending;
    });

    my $looked = 0;

    $loop->run_until(sub {
        return if time - $looked < 0.3;
        $looked = time;
        @open = $ledger->look;

        for my $id (grep { $ledger->tasks->{$_}{state}
            && $ledger->tasks->{$_}{state} eq 'waiting' } @open)
        {
            answer($id);
        }

        die "in time\n" if time - $end > DRAIN;
        !@open && !$sender->pending;
    });
};

die $@ if $@ && $@ ne "in time\n";

my $drained = time - $end;
$loop->run_until(sub { time - $end > $drained + 1 });
$ledger->look;

my $after = usage();


# What became of it.

my $failed = 0;

sub says { printf "%-44s %s\n", @_ }

sub none {
    my ($what, @lines) = @_;
    says($what, scalar(@lines) . (@lines ? '   BROKEN' : ''));
    return if !@lines;
    $failed = 1;
    @lines = (@lines[0 .. SHOWN - 1], '...') if @lines > SHOWN;
    print "    $_\n" for @lines;
}

sub at_most {
    my ($what, $value, $limit, $unit) = @_;
    my $good = $value <= $limit;
    says($what, "$value$unit" . ($good ? '' : "   BROKEN: over $limit$unit"));
    $failed = 1 if !$good;
}

my $status = 0;

for my $i (0 .. $#nginx) {
    my @left = eval { $nginx[$i]->stop };
    $status ||= !@left || $left[0];
    $faults->{masters}[$i] = [];
}

my $log = join '', map { $_->log } @nginx;
my %given_up = map { $_ => 1 }
    $log =~ /task "([^"]+)" is not this worker's any more/g;
my $tasks = $ledger->tasks;
my $killed = $faults->{killed};

# Every run of a step but the last has to be explained.

my $runs = $ledger->runs($record);
my (%why, @unexplained, @takeovers);

for my $id (sort keys %$runs) {
    my @begins = sort { $a <=> $b }
        map { map { $_->{begin} } @$_ } values %{ $runs->{$id} };

    for my $step (sort keys %{ $runs->{$id} }) {
        my @runs = sort { $a->{begin} <=> $b->{begin} }
            @{ $runs->{$id}{$step} };
        my $last = pop @runs;

        for my $i (0 .. $#runs) {
            my $run = $runs[$i];
            my $next = $i < $#runs ? $runs[$i + 1] : $last;
            my $kill = $killed->{$run->{pid}};
            my $frozen = $faults->{frozen}{$run->{pid}};

            if ($run->{end} eq 'failed') {
                $why{'a configured retry'}++;

            } elsif ($kill && $kill >= $run->{begin} - 0.01
                && $kill <= $next->{begin} + 0.01)
            {
                $why{'a kill'}++;
                push @takeovers, (first { $_ > $kill - 0.01 } @begins) - $kill;

            } elsif ($frozen && $frozen <= $next->{begin}) {
                $why{'a worker that stood still'}++;

            } elsif ($given_up{$id}) {
                $why{'a lease lost or handed back'}++;

            } elsif ($kill && grep { $_ >= $run->{begin} - LEASE
                && $_ <= $next->{begin} } @{ $faults->{redis_faults} })
            {
                # it was killed before it could know that it had lost the lease

                $why{'a lease lost while Redis was away'}++;

            } else {
                push @unexplained, sprintf '%s: %s at attempt %d by %d, again '
                    . 'by %d after %.2f s%s', $id, $step, $run->{attempt},
                    $run->{pid}, $next->{pid}, $next->{begin} - $run->{begin},
                    $kill ? sprintf(', killed after %.2f s',
                        $kill - $run->{begin}) : '';
            }
        }
    }
}

# So has every attempt but the first, also where no step was begun.  What a
# killed worker had asked of a Redis that stood still is done later.

my @times = (values %$killed, values %{ $faults->{frozen} },
    @{ $faults->{redis_faults} });

my @attempts = grep {
    my $task = $tasks->{$_};
    my $steps = $runs->{$_} // {};
    $task->{ended} && $task->{attempts} > 1 && !$given_up{$_}
        && !grep({ $_->{end} eq 'failed' } map { @$_ } values %$steps)
        && !grep({ $_ >= $task->{created} / 1000 - 2
            && $_ <= $task->{updated} / 1000 } @times)
} sort keys %$tasks;

my %state;
$state{$_->{state} // 'unknown'}++ for values %$tasks;

says('seconds', $seconds);
says('faults', join ', ', map { "$_ $faults->{count}{$_}" }
    sort keys %{ $faults->{count} });
says('HTTP answers', join ', ', map { "$_: $sender->{answers}{$_}" }
    sort keys %{ $sender->{answers} });
says('tasks sent', scalar keys %$tasks);
says('acknowledged', $ledger->number('acknowledged'));
says('ended', $ledger->number('ended') . ' ('
    . join(', ', map { "$_ $state{$_}" } sort keys %state) . ')');
says('last end after the load', sprintf '%.1f s', $drained);
none('not acknowledged in the end',
    grep { !$tasks->{$_}{acknowledged} } sort keys %$tasks);
none('lost', map { "$_: " . ($tasks->{$_}{state} // 'unknown') }
    sort $ledger->lost);
none('ended otherwise than they should', sort $ledger->wrong_ends);
none('completed_task published more than once',
    sort $ledger->completed_twice);
none('ended without completed_task', sort $ledger->unheard);
none('streams with gaps, doubles, disorder', sort $ledger->broken_streams);
says('step runs', sum0(map { map { scalar @$_ } values %$_ } values %$runs));
says('step runs beyond the first', sum0(values %why) + @unexplained);
says("    after $_", $why{$_}) for sort keys %why;
none('    not explained', @unexplained);
none('attempts that no fault explains', @attempts);
at_most('longest takeover',
    sprintf('%.2f', max(0, @takeovers)), TAKEOVER, ' s');

my @rss = map { [sort { $a <=> $b } map { $_->[0] } values %$_] }
    $before, $after;
my @fds = map { [sort { $a <=> $b } map { $_->[1] } values %$_] }
    $before, $after;

says('memory of the workers, kB', "@{ $rss[0] } -> @{ $rss[1] }");
at_most('    growth', max(0, max(@{ $rss[1] }) - min(@{ $rss[0] })), GROWTH,
    ' kB');
says('descriptors of the workers', "@{ $fds[0] } -> @{ $fds[1] }");
at_most('    growth', max(0, max(@{ $fds[1] }) - min(@{ $fds[0] })),
    DESCRIPTORS, '');
none('alerts in the logs', map { s/\s+$//r }
    map { $_->alarms(qr/exited on signal 9/) } @nginx);
none('nginx that did not end well', $status ? 'see its log' : ());

print $failed ? "soak: a promise is broken\n" : "soak: all promises kept\n";

exit $failed;
