# peers.pl [PEER]...: ours beside other queues; see README.md.

use strict;
use warnings;

use Workflow;
use Bench::Peers;
use Bench::Report;
use Bench::Tool;

STDOUT->autoflush(1);

# Whatever happens, nothing is left behind.

my $driver = $$;
$SIG{$_} = sub { exit 1 } for qw(INT TERM HUP);
END { Bench::Tool::kill_all() if $$ == $driver }

my $report = Bench::Report->new(mode => 'peers', rounds => 3, patience => 240);

$report->note('every round of each has a Redis of its own, of the same binary,'
    . ' which keeps nothing on disk (appendonly no)');

Bench::Peers::measure($report, @ARGV);

$report->print_table;
$report->write_json(($ENV{BUILD} // 'build') . '/bench-peers.json');
