package Bench::Tasks;

# Tasks a second, and streamed events a second.

use strict;
use warnings;

use Bench::Stand;

# By what a worker may run at a time; with `pair` also two workers.

sub caps {
    my ($report, $stand, %size) = @_;
    my $n = $size{tasks};
    my %of = (8 => 'echo', 64 => 'echo64', 1024 => 'echo1024');
    my $pair = $size{pair} && Bench::Stand->new(redis => $stand->redis,
        workers => 2, services => { pair => 'max_concurrent_tasks 64;' });

    my $samples = $report->rounds('tasks',
        floor => sub { $stand->drain_floor($n) },
        (map {
            my $service = $of{$_};
            ($_ => sub { $stand->drain($service, $n) });
        } @{ $size{caps} }),
        $pair ? (pair => sub { $pair->drain('pair', $n) }) : ());

    $report->group("Tasks of the workflow echo, $n queued",
        'claim and finish scripts, pipelined by a C loop: no NGINX, no JSON');

    for my $cap (@{ $size{caps} }, $pair ? 'pair' : ()) {
        $report->row($cap eq 'pair' ? 'two workers, 64 at a time each'
                : "one worker, $cap at a time", unit => '1/s',
            at_least => $cap eq '8' ? 0.35 : 0.6,
            floor => $samples->{floor}{rate}, ours => $samples->{$cap}{rate});
    }
}

sub steps {
    my ($report, $stand, %size) = @_;
    my $n = $size{steps};

    my $samples = $report->rounds('steps', map {
        my $service = $_;
        ($_ => sub { $stand->drain($service, $n) });
    } qw(one three));

    $report->group("Steps of a workflow, $n queued, 64 at a time",
        'the same work in one step');
    $report->row('three steps', unit => '1/s', at_least => 0.85,
        floor => $samples->{one}{rate}, ours => $samples->{three}{rate});
}

# Always as many events, by tasks one after the other.

sub events {
    my ($report, $stand, %size) = @_;
    my $all = $size{events};
    my @counts = (10, 1000, $all);

    my $samples = $report->rounds('events', map {
        my $n = $_;
        ($n => sub {
            my $answer = $stand->drain('events', $all / $n,
                input => qq({"n": $n}));
            return { rate => $answer->{rate} * $n };
        });
    } @counts);

    $report->group("Streamed events, $all by tasks one after the other",
        'tasks of 10 events');
    $report->row("tasks of $_ events", unit => '1/s', at_least => 0.9,
            floor => $samples->{10}{rate}, ours => $samples->{$_}{rate})
        for @counts[1, 2];
    $report->group($report->{group}[0], 'tasks of 1000 events');
    $report->row("one task of $all events", unit => '1/s',
        floor => $samples->{1000}{rate}, ours => $samples->{$all}{rate});
}

# With few and with many behind those that are run.  What is left when so many
# have ended is taken back, and filled up for the next round.

sub depth {
    my ($report, $stand, %size) = @_;
    my @depths = @{ $size{depths} };
    my $n = $size{depth_tasks};

    $stand->flush;
    fill($stand, $_, $_ + $n) for @depths;

    my $samples = $report->rounds('depth', map {
        my $depth = $_;
        ($depth => sub {
            my $answer = $stand->bench('go', service => 'deep',
                stage => "stage$depth", n => $n, back => 1);
            $stand->quiet('deep');
            fill($stand, $depth, $n);
            return $answer;
        });
    } @depths);

    $report->group("$n of the tasks queued, 64 at a time",
        "with $depths[0] more behind them");
    $report->row("with $_ more behind them", unit => '1/s', at_least => 0.9,
            floor => $samples->{$depths[0]}{rate}, ours => $samples->{$_}{rate})
        for @depths[1 .. $#depths];
}

sub fill {
    my ($stand, $depth, $n) = @_;
    $stand->bench('fill', service => 'deep', stage => "stage$depth", n => $n);
}

1;
