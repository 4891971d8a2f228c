package ledgerline.peer;

import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.common.errors.GroupIdNotFoundException;
import org.apache.kafka.common.errors.UnknownTopicOrPartitionException;

/** The topics around a run. */
final class Topics {
    private final String bootstrap;

    Topics(String bootstrap) {
        this.bootstrap = bootstrap;
    }

    /** Makes the output with as many partitions as the input, where it is not there. Returns that number. */
    int prepare(String input, String output) throws InterruptedException, ExecutionException {
        try (Admin admin = admin()) {
            Set<String> names = admin.listTopics().names().get();
            if (!names.contains(input)) {
                throw new IllegalArgumentException("there is no topic " + input);
            }
            int partitions = admin.describeTopics(List.of(input)).allTopicNames().get().get(input).partitions().size();
            if (!names.contains(output)) {
                admin.createTopics(List.of(new NewTopic(output, Optional.of(partitions), Optional.empty()))).all().get();
            }
            return partitions;
        }
    }

    /** What a run of this application id left: its changelog and its group. */
    void remove(String applicationId) throws InterruptedException, ExecutionException {
        String changelog = applicationId + "-" + Seal.STORE + "-changelog";
        try (Admin admin = admin()) {
            unless(UnknownTopicOrPartitionException.class, () -> admin.deleteTopics(List.of(changelog)).all().get());
            unless(GroupIdNotFoundException.class, () -> admin.deleteConsumerGroups(List.of(applicationId)).all().get());
        }
    }

    private interface Call {
        void run() throws InterruptedException, ExecutionException;
    }

    private static void unless(Class<?> already, Call call) throws InterruptedException, ExecutionException {
        try {
            call.run();
        } catch (ExecutionException error) {
            if (!already.isInstance(error.getCause())) {
                throw error;
            }
        }
    }

    private Admin admin() {
        return Admin.create(Map.of("bootstrap.servers", bootstrap));
    }
}
