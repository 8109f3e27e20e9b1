// A client of the server by the JDBC driver of PostgreSQL: java -cp DRIVER Client.java URL USER PASSWORD
import java.sql.*;
import java.util.Properties;

public class Client {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("user", args[1]);
        properties.setProperty("password", args[2]);
        properties.setProperty("options", "-c cordon.purpose=research");
        try (Connection connection = DriverManager.getConnection(args[0], properties)) {
            System.out.println("product " + connection.getMetaData().getDatabaseProductName());
            try (ResultSet tables = connection.getMetaData().getTables(null, null, "%", new String[] {"TABLE"})) {
                while (tables.next()) System.out.println("table " + tables.getString("TABLE_NAME"));
            }
            try (ResultSet columns = connection.getMetaData().getColumns(null, null, "visits", "%")) {
                while (columns.next()) {
                    System.out.println("column " + columns.getString("COLUMN_NAME") + " " + columns.getString("TYPE_NAME"));
                }
            }
            String sql = "SELECT code, points, points * 1.5 AS more, points > 3 AS many FROM visits WHERE code = ? AND points >= ? ORDER BY points";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                // Often enough that the driver names the statement and takes answers in binary.
                for (int round = 0; round < 8; round++) {
                    statement.setString(1, "E0" + round % 3);
                    statement.setInt(2, 380);
                    try (ResultSet rows = statement.executeQuery()) {
                        StringBuilder line = new StringBuilder("row");
                        while (rows.next()) {
                            line.append(' ').append(rows.getString(1)).append(',').append(rows.getLong(2)).append(',')
                                .append(rows.getDouble(3)).append(',').append(rows.getBoolean(4));
                        }
                        System.out.println(line);
                    }
                }
                statement.setString(1, "' OR 1=1 --");
                statement.setInt(2, 0);
                try (ResultSet rows = statement.executeQuery()) {
                    System.out.println("injected " + rows.next());
                }
            }
            connection.setAutoCommit(false);
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(1000);
                long count = 0;
                try (ResultSet rows = statement.executeQuery("SELECT a.points FROM visits a, visits b LIMIT 25500")) {
                    while (rows.next()) count++;
                }
                System.out.println("fetched " + count);
            }
            connection.commit();
            connection.setAutoCommit(true);
            try (PreparedStatement statement = connection.prepareStatement("SELECT CAST(? AS DATE) < DATE '2020-01-01'")) {
                statement.setDate(1, Date.valueOf("2019-12-31"));
                try (ResultSet rows = statement.executeQuery()) {
                    rows.next();
                    System.out.println("date " + rows.getBoolean(1));
                }
            }
            try (Statement statement = connection.createStatement()) {
                statement.executeQuery("SELECT patient FROM visits");
                System.out.println("leaked");
            } catch (SQLException error) {
                System.out.println("refused " + error.getSQLState());
            }
            try (Statement statement = connection.createStatement()) {
                Thread cancel = new Thread(() -> {
                    try {
                        Thread.sleep(1500);
                        statement.cancel();
                    } catch (Exception error) {
                        System.out.println("cancel " + error);
                    }
                });
                cancel.start();
                statement.executeQuery("SELECT count(*) FROM visits a, visits b, visits c, visits d WHERE a.points + b.points + c.points + d.points = -1");
                System.out.println("not cancelled");
            } catch (SQLException error) {
                System.out.println("cancelled " + error.getSQLState());
            }
            try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery("SELECT 1")) {
                rows.next();
                System.out.println("alive " + rows.getInt(1));
            }
        }
    }
}
