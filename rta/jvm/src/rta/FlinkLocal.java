package rta;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.locks.LockSupport;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.GlobalConfiguration;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.core.fs.FileSystem;
import org.apache.flink.core.plugin.PluginUtils;
import org.apache.flink.runtime.minicluster.MiniCluster;
import org.apache.flink.runtime.minicluster.MiniClusterConfiguration;
import org.apache.flink.table.gateway.SqlGateway;

/**
 * One JVM: a MiniCluster of Flink with its REST endpoint, and Flink's SQL gateway that submits to it. SIGTERM ends it, and so does the end of
 * the folder that names it: nobody could find it any more. It ends, too, if it cannot start: the threads that Flink has begun would keep it.
 */
public final class FlinkLocal {
    private FlinkLocal() { }

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Throwable failed) {
            failed.printStackTrace();
            Runtime.getRuntime().halt(1);  // exit() would wait for what has begun to close
        }
    }

    private static void run(String[] arguments) throws Exception {
        Configuration configuration = GlobalConfiguration.loadConfiguration();  // of FLINK_CONF_DIR, as the gateway's
        FileSystem.initialize(configuration, PluginUtils.createPluginManagerFromRootFolder(configuration));
        MiniCluster cluster = new MiniCluster(new MiniClusterConfiguration.Builder().setConfiguration(configuration)
            .setNumTaskManagers(1).setNumSlotsPerTaskManager(configuration.get(TaskManagerOptions.NUM_TASK_SLOTS)).build());
        cluster.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> close(cluster)));
        endWith(Path.of(System.getenv("FLINK_CONF_DIR")));
        System.out.println("{\"rest\":\"" + cluster.getRestAddress().get() + "\"}");
        SqlGateway.main(arguments);  // returns when it ends
    }

    private static void endWith(Path folder) {
        Thread watching = new Thread(() -> {
            while (Files.exists(folder)) LockSupport.parkNanos(2_000_000_000L);
            System.exit(1);
        }, "watches " + folder);
        watching.setDaemon(true);
        watching.start();
    }

    private static void close(MiniCluster cluster) {
        try {
            cluster.close();
        } catch (Exception e) {
            e.printStackTrace();
        }
    }
}
