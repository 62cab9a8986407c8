package Bench::Memory;

# What a worker and Redis need.  There is nothing to alternate here: one look
# at each.

use strict;
use warnings;

use Workflow;
use Bench::Machine;
use Bench::Stand;

# Megabytes of the only worker.

sub worker {
    my ($nginx) = @_;
    my ($pid) = $nginx->workers;
    my ($rss, $pss) = map { $_ / 1024 } Bench::Machine::memory($pid);
    return { rss => $rss, pss => $pss };
}

sub workers {
    my ($report, undef, %size) = @_;
    my ($passed, $queued, $parked) = @size{qw(passed queued parked)};
    my $bare = Workflow::Nginx->new(workers => 1, pool => '');
    my $stand = Bench::Stand->new(services => { echo => '', ask => 'workflow'
        . ' ask;' });
    my @looks;

    my $look = sub {
        my ($what) = @_;
        print STDERR '.';
        push @looks, [$what, worker($bare), worker($stand->nginx)];
    };

    print STDERR 'memory ';
    $look->('idle');

    $stand->drain('echo', $passed);
    $look->("after $passed tasks");

    $stand->flush;
    $stand->bench('fill', service => 'echo', stage => 'stage', n => $queued);
    $stand->bench('go', service => 'echo', stage => 'stage', n => 20_000,
        back => 1);
    $look->("$queued queued, 20000 of them run");

    $stand->flush;
    $stand->bench('fill', service => 'ask', n => $parked);
    $stand->parked('ask', $parked);
    $look->("$parked parked");
    print STDERR "\n";

    $report->group('Resident memory of a worker',
        'an NGINX that has loaded the module and has no directive of it');
    $report->row($_->[0], unit => 'MB', difference => 1, at_most => 8,
        floor => [$_->[1]{rss}], ours => [$_->[2]{rss}]) for @looks;
    $report->group('Proportional share of it (Pss)', $report->{group}[1]);
    $report->row($_->[0], unit => 'MB', difference => 1,
        floor => [$_->[1]{pss}], ours => [$_->[2]{pss}]) for @looks;
}

sub redis {
    my ($report, $stand, %size) = @_;
    my $n = $size{kept};
    my @looks;

    my $bytes = sub {
        my ($what, $service, $wait) = @_;
        print STDERR '.';
        $stand->flush;
        my $before = used($stand);
        $stand->bench('fill', service => $service, n => $n);
        $wait->();
        push @looks, [$what, (used($stand) - $before) / $n];
    };

    print STDERR 'bytes ';
    $bytes->('a queued task', 'intake', sub {});
    $bytes->('a parked run', 'ask', sub { $stand->parked('ask', $n) });
    $bytes->('a finished task, until it expires', 'echo', sub {
        Workflow::wait_for(sub { !$stand->length_of('echo') }, 60, 'tasks');
    });
    print STDERR "\n";
    $stand->flush;

    $report->group("Memory of Redis (used_memory), $n of each",
        'the message');
    $report->row($_->[0], unit => 'bytes', difference => 1, at_most => 400,
        floor => [Bench::Stand::SIZE], ours => [$_->[1]]) for @looks;
}

sub used {
    my ($stand) = @_;
    my $info = $stand->command->info('memory');
    return $info->{used_memory};
}

1;
