# One task in over HTTP and one by Pub/Sub, out by Pub/Sub, on two workers.

use strict;
use warnings;

use Test::More;
use Workflow;

my $redis = Workflow::Redis->new;
my $nginx = Workflow::Nginx->new(http => <<"HTTP", locations => <<'LOCATIONS');
workflow_load \@PLUGINS\@/echo.so;
workflow_queue tasks { url @{[ $redis->url ]}; }
workflow_service echo { workflow echo; queue tasks; }
HTTP
location / { workflow_pass echo; }
LOCATIONS

my $inbox = $redis->inbox('llama_deploy.control_plane');

my $r = http_post($nginx->url('/process_message'),
    new_task('t1', { arg1 => 'x' }));
is($r->{status}, 200, 'accepted');
is($r->{content}, 'null', 'null');

my @messages = $inbox->task('t1');
is(@messages, 2, 'an event and a result');
is($messages[0]{data}{data}{result}, 'x_result', 'streamed');
is($messages[1]{data}{result}, 'x_result', 'result');

wait_for { ($redis->redis->pubsub('NUMSUB', 'llama_deploy.echo'))[1] == 2 }
    10, 'two subscribers';
$redis->redis->publish('llama_deploy.echo', new_task('t2', { arg1 => 'y' }));
@messages = $inbox->task('t2');
is($messages[1]{data}{result}, 'y_result', 'result of a published task');
is_deeply([$inbox->drain], [], 'only once');

is($nginx->stop, 0, 'nginx ends');
$nginx->log_ok;

done_testing;
